import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread():
    """Spare small matrices the cost of threads that wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
