"""Two processes train together, and end where one process with all rows ends."""

import tempfile
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing
from torch.nn.parallel import DistributedDataParallel

import rbgs
import rbgs.torch


class Autoencoder(torch.nn.Module):
    """Describe each point by one of four codes."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(2, 4)
        self.decoder = torch.nn.Linear(4, 2)
        self.sampler = rbgs.torch.Sampler(rbgs.GumbelRao(0.5))

    def forward(self, x, key):
        """Return the loss of each point."""
        code = self.sampler(self.encoder(x), generator=key)
        return (self.decoder(code) - x).square().sum(dim=-1)


def train(model, x, start, steps=200):
    """Train on rows that begin at ``start`` of the whole batch; return the loss of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(steps):
        key = rbgs.Key(0).fold_in(step).at(start)  # the key of the step, at the first row
        loss = model(x, key).mean()
        optimizer.zero_grad()
        loss.backward()  # DistributedDataParallel averages the gradients here
        optimizer.step()
        losses.append(loss.item())
    return losses


def work(rank, processes, store):
    """Do the part of one process."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=processes
    )
    x = 2 * torch.randn(64, 2, generator=torch.Generator().manual_seed(1)).double()
    torch.manual_seed(0)
    model = Autoencoder().double()  # so that rounding does not blur the comparison
    rows = len(x) // processes
    start = rank * rows
    losses = train(DistributedDataParallel(model), x[start : start + rows], start)
    print(f"process {rank}: loss {losses[0]:.2f}, in the end {losses[-1]:.2f}", flush=True)
    torch.distributed.destroy_process_group()

    if rank == 0:
        torch.manual_seed(0)
        alone = Autoencoder().double()
        losses = train(alone, x, 0)
        pairs = zip(model.parameters(), alone.parameters(), strict=True)
        difference = max((a - b).abs().max().item() for a, b in pairs)
        assert difference < 1e-9
        print(f"one process: loss {losses[0]:.2f}, in the end {losses[-1]:.2f}")
        print(f"largest difference of the weights: {difference:.0e}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, args=(2, Path(folder) / "store"), nprocs=2)
