"""The autopilot beside torchvision's own training loop of a detector: `python examples/autopilot_torchvision.py`."""

import torch
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from mapopt.training import Autopilot

torch.manual_seed(0)
model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)  # a thousandth of what it needs, or less
pilot = Autopilot.load(optimizer="adamw", batch_size=2, steps=60)
for step in range(60):
    images = [torch.rand(3, 320, 320) for _ in range(2)]
    for number, image in enumerate(images):
        image[:, 40:200, 40:200] = float(number)  # a white square and a black one
    targets = [{"boxes": torch.tensor([[40.0, 40.0, 200.0, 200.0]]), "labels": torch.tensor([n])} for n in (1, 2)]
    loss = torch.stack(list(model(images, targets).values())).sum()
    optimizer.zero_grad()
    loss.backward()
    with pilot.watch(optimizer):
        optimizer.step()
    if step % 5 == 4:
        pilot.step(progress=(step + 1) / 60, loss=loss.item()).apply(optimizer)
        print(f"step {step + 1}: loss {loss.item():.2f}, rate {optimizer.param_groups[0]['lr']:.6f}")
