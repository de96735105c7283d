"""The autopilot in a loop of your own, from a rate that is far off: `python examples/autopilot_classifier.py`."""

import torch
from torch import nn

from mapopt.training import Autopilot

generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)
points = torch.randn(2048, 20, generator=generator)
labels = (points[:, 0] * points[:, 1] > 0).long()
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
pilot = Autopilot.load(optimizer="sgd", batch_size=64, steps=2000)
for step in range(2000):
    rows = torch.randint(2048, (64,), generator=generator)
    loss = nn.functional.cross_entropy(model(points[rows]), labels[rows])
    optimizer.zero_grad()
    loss.backward()
    with pilot.watch(optimizer):
        optimizer.step()
    if step % 20 == 19:
        pilot.step(progress=(step + 1) / 2000, loss=loss.item()).apply(optimizer)
print(f"accuracy {(model(points).argmax(1) == labels).float().mean():.2f}, rate {optimizer.param_groups[0]['lr']:.4f}")
