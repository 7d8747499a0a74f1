import pytest

from lightning_codec.errors import UserError, is_out_of_memory, one_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("size mismatch"), False),
        (ValueError("memory"), False),
    ],
)
def test_a_failed_allocation_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_an_error_is_one_line_with_the_file_first() -> None:
    assert (
        one_line(FileNotFoundError(2, "No such file or directory", "a/b.png")) == "a/b.png: No such file or directory"
    )
    assert one_line(UserError("two\n  lines")) == "two lines"
    assert one_line(KeyError()) == "KeyError"
