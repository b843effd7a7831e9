"""For all tests: one thread each, for several processes test at once."""

import torch

torch.set_num_threads(1)
