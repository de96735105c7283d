"""Annotations are checked when made, and selected without losing what belongs together."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.errors import DataError


def test_counts_are_per_category_and_leave_crowds_out(make_annotations):
    assert make_annotations().counts.tolist() == [1, 2]
    assert make_annotations(crowd=[True, False, False]).counts.tolist() == [1, 1]


def test_selected_images_keep_their_objects_and_all_categories(make_annotations):
    whole = make_annotations()
    part = whole.select([2, 0])
    assert part.image_ids.tolist() == [0, 10]
    assert part.file_names == ("c.png", "a.png")
    assert part.ids.tolist() == [9, 3, 1]
    assert part.images.tolist() == [0, 1, 1]
    assert part.boxes.tolist() == whole.boxes[[2, 0, 1]].tolist()
    assert part.category_names == whole.category_names


def test_selecting_every_image_in_order_changes_nothing(make_annotations):
    whole = make_annotations()
    assert whole.select(np.ones(3, dtype=bool)) == whole
    assert whole.select([0, 1, 2]) == whole
    assert whole.select([1, 0, 2]) != whole


def test_kept_objects_leave_the_images_as_they_are(make_annotations):
    part = make_annotations().keep([False, True, False])
    assert len(part) == 3
    assert part.ids.tolist() == [1]


def test_columns_are_read_only_copies(make_annotations):
    boxes = np.array([[1.0, 2, 11, 12], [0, 0, 40, 20], [3, 4, 10, 30]])
    annotations = make_annotations(boxes=boxes)
    boxes[0] = 0
    assert annotations.boxes[0].tolist() == [1, 2, 11, 12]
    with pytest.raises(ValueError):
        annotations.boxes[0, 0] = 5


def test_equality_sees_every_column_but_the_folder(make_annotations, tmp_path):
    whole = make_annotations()
    assert whole == make_annotations(root=tmp_path)
    for change in (
        {"boxes": [[1, 2, 11, 12.5], [0, 0, 40, 20], [3.25, 4.5, 10.125, 30.75]]},
        {"crowd": [False, True, False]},
        {"category_names": ("cat", "dogs")},
        {"ids": [3, 1, 8]},
    ):
        assert whole != make_annotations(**change)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_ids": [10, 7, 10]}, "image id 10 is used twice"),
        ({"file_names": ("a.png", "a.png", "c.png")}, "file name a.png is used twice"),
        ({"category_ids": [5, 5]}, "category id 5 is used twice"),
        ({"category_names": ("cat", "cat")}, "category name cat is used twice"),
        ({"ids": [3, 1, 3]}, "annotation id 3 is used twice"),
        ({"widths": [40, 0, 20]}, "image 'b.png' is 0 x 30 pixels"),
        ({"labels": [1, 2, 1]}, "annotation 1: category position 2 is not in 0 to 1"),
        ({"images": [0, -1, 2]}, "annotation 1: image position -1 is not in 0 to 2"),
        ({"area": [1.0, 1.0, -1.0]}, "annotation 9: area -1.0"),
        ({"area": [1.0, 1.0]}, "column 'area' has 2 entries, but its ids have 3"),
        ({"category_ids": [], "category_names": ()}, "holds no category"),
    ],
)
def test_contradictions_are_named(make_annotations, columns, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        make_annotations(**columns)


@pytest.mark.parametrize("box", [[1, 2, 1, 12], [1, 12, 11, 2], [-3, 2, 11, 12], [1, 2, 41, 12], [1, 2, np.nan, 12]])
def test_a_box_that_cannot_be_right_names_its_annotation_and_image(make_annotations, box):
    with pytest.raises(DataError, match=r"annotation 3 \(image 'a.png', 40 x 20 pixels\)"):
        make_annotations(boxes=[box, [0, 0, 40, 20], [3, 4, 10, 30]])


def test_a_box_may_stick_out_by_rounding(make_annotations):
    make_annotations(boxes=[[-0.4, 2, 40.4, 12], [0, 0, 40, 20], [3, 4, 10, 30]])


def test_a_set_without_images_or_a_selection_that_does_not_exist_is_refused(make_annotations):
    whole = make_annotations()
    with pytest.raises(DataError, match="holds no image"):
        whole.select([])
    with pytest.raises(DataError, match="there are 3"):
        whole.select([3])
    with pytest.raises(DataError, match="selected twice"):
        whole.select([1, 1])
