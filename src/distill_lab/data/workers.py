"""Processes that decode batches ahead of their use; their number changes no result."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from distill_lab.data.decode import Decoder, Request
from distill_lab.errors import DataError
from distill_lab.lifetime import end_with_parent

START = "forkserver"
"""How they are started: a fork of this process, with the threads of torch and MLflow in it, could
wait for ever for a lock that one of those held."""


class Workers:
    """Decodes requests in the order in which they come.

    The processes start with the first pass and stay for the next. A pass that begins while another
    is under way gets processes of its own; those of a pass that is given up end.

    Args:
        decoder: does the work.
        num_workers: >= 0 processes; 0 decodes in this one.
    """

    def __init__(self, decoder: Decoder, num_workers: int) -> None:
        self.decoder = decoder
        self.num_workers = num_workers
        self._idle: DataLoader | None = None

    def __reduce__(self) -> tuple[type[Workers], tuple[Decoder, int]]:
        """Go to another process, which decodes by itself.

        It lasts for one training, so that others would have to be started anew for each.
        """
        return Workers, (self.decoder, 0)

    def decoded(self, requests: Iterable[Request], count: int) -> Iterator[Tensor]:
        """Yield (B, C, H, W) uint8 for each request.

        Args:
            requests: one per batch.
            count: how many they are; one alone is decoded in this process.

        Raises:
            DataError: a file cannot be read, or a process died.
        """
        here = self.num_workers == 0 or count == 1
        for images in map(self._here, requests) if here else self._ahead(requests, count):
            if isinstance(images, str):
                raise DataError(images)
            yield images

    def _here(self, request: Request) -> Tensor | str:
        return self.decoder[request]

    def _ahead(self, requests: Iterable[Request], count: int) -> Iterator[Tensor | str]:
        loader = self._start() if self._idle is None else self._idle
        self._idle = None
        loader.sampler.requests = requests  # type: ignore[attr-defined]  # ours
        try:
            for number, images in enumerate(loader, start=1):
                if number == count:
                    break
                yield images
        except RuntimeError as error:
            raise DataError(
                f"a process that decodes images died: {error} Lower data.num_workers; 0 decodes "
                "without further processes."
            ) from error
        # Before the last batch is handed out, as few users of an iterator ask once more.
        self._idle = loader
        yield images

    def _start(self) -> DataLoader:
        context = multiprocessing.get_context(START)
        context.set_forkserver_preload([Decoder.__module__])
        return DataLoader(
            self.decoder,  # type: ignore[arg-type]  # an item is a whole batch
            batch_size=None,
            sampler=_Requests(),
            num_workers=self.num_workers,
            persistent_workers=True,
            multiprocessing_context=context,
            worker_init_fn=_begin,
            # It draws a number in each pass, which must not be one that a network is waiting for.
            generator=torch.Generator(),
        )


def _begin(number: int) -> None:
    # torch looks whether the forkserver is there, which is, as long as the process itself is.
    end_with_parent()


class _Requests:
    """What a DataLoader takes for the order of samples: the requests of the pass at hand."""

    requests: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)
