"""One of two processes of DistributedDataParallel: checked against one process with all rows."""

import sys

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

import rbgs
import rbgs.torch

BATCH, STEPS = 32, 5


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(2, 4)
        self.decoder = torch.nn.Linear(4, 2)
        self.sampler = rbgs.torch.Sampler(rbgs.GumbelRao(0.5))

    def forward(self, x, key):
        return self.loss(self.sampler(self.encoder(x), generator=key), x)

    def loss(self, value, x):
        return (self.decoder(value) - x).square().sum(dim=-1)


class FromValues(Model):
    """The same, by an estimator that evaluates the loss at two places."""

    def forward(self, x, key):
        return rbgs.torch.expectation(
            rbgs.MuProp(), lambda value: self.loss(value, x), self.encoder(x), generator=key
        )


def train(model, x, start):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(STEPS):
        key = rbgs.Key(0).fold_in(step).at(start)
        loss = model(x, key).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def main(rank, store):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    x = torch.randn(BATCH, 2, generator=torch.Generator().manual_seed(1))
    start = rank * BATCH // 2
    for kind in (Model, FromValues):
        torch.manual_seed(0)
        alone = kind()
        shared = kind()
        shared.load_state_dict(alone.state_dict())
        trained = train(DistributedDataParallel(shared), x[start : start + BATCH // 2], start)
        expected = train(alone, x, 0)
        for a, b in zip(trained, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    torch.distributed.destroy_process_group()
    print("agrees")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
