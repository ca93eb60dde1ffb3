"""Left padding is read off a mask; any other mask is refused with row, column and what may be."""

import pytest
import torch

from host.attention.padding import first_columns
from host.support import PromptError


def mask(*rows):
    return torch.tensor([[int(x) for x in row] for row in rows])


def test_first_columns():
    assert first_columns(mask("1111", "0111", "0001")) == [0, 1, 3]
    assert first_columns(mask("1")) == [0]
    assert first_columns(mask("0011").bool()) == [2] and first_columns(7 * mask("0011")) == [2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1111", "0101"], r"row 1 .* a 0 in column 2, after a 1 in column 1: .*0\.\.0 may be 0"),
        (["0010011", "1" * 7], r"row 0 .* a 0 in column 3, after a 1 in column 2: .*0\.\.1 may"),
        (["1111", "1011"], "row 1 .* a 0 in column 1, after a 1 in column 0: .*ones only"),
        (["1111", "0110"], r"row 1 .* ends with 0 in columns 3\.\.3: .*left.*column, 3, must be 1"),
        (["1100", "1111"], r"row 0 .* ends with 0 in columns 2\.\.3.*padding_side = 'left'"),
        (["1111", "1111", "0000"], "row 2 .* no 1 in its 4 columns: .*1 token or more"),
    ],
)
def test_other_masks_are_refused(rows, message):
    with pytest.raises(PromptError, match=message):
        first_columns(mask(*rows))
