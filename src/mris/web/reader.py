"""`Reader`: what the interface and the pages share: bundles, decoders, threads, and what is held in memory."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from starlette.datastructures import UploadFile

from mris.archive.connection import connect
from mris.errors import ImageError
from mris.web.decoding import Decoders
from mris.web.errors import GoneError
from mris.web.held import Held
from mris.web.images import HeldImage, ReadFile, Wish, image_record
from mris.web.metrics import Metrics
from mris.web.records import ImageRecord
from mris.web.results import Asked, HeldResult, held_result
from mris.web.served import ServedBundle, bundle_of
from mris.web.settings import ServeSettings
from mris.web.uploads import in_a_folder
from mris.web.work import Places, SynthesisThread

T = TypeVar("T")

_SHARE_OF_IMAGES = 0.5
_CHANGED = "the bundle has changed since; ask for the synthesis again"


class Read(NamedTuple):
    """A file that was read for a request, and its id, where it is held."""

    file: ReadFile
    held: str | None


class Reader:
    """All that is open while the server runs."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        """Open it; networks are loaded in the background.

        Args:
            settings: What is served.
            metrics: Where work is counted.
        """
        limits = settings.limits
        self.settings = settings
        self.metrics = metrics
        self.bundles = [
            ServedBundle(name, path) for name, path in zip(settings.bundle_names, settings.bundles, strict=True)
        ]
        self.images = Held[HeldImage]("image", int(limits.held_bytes * _SHARE_OF_IMAGES))
        self.results = Held[HeldResult]("result", int(limits.held_bytes * (1 - _SHARE_OF_IMAGES)))
        self.archive = None if settings.archive is None else connect(settings.archive)
        self.places = Places(limits.waiting)
        self.decoders = Decoders(limits, ended=lambda: metrics.count("decoders_ended"))
        self._reading = ThreadPoolExecutor(limits.readers, "reading")
        self._drawing = ThreadPoolExecutor(2, "drawing")
        self._synthesis = {served.name: SynthesisThread(served) for served in self.bundles}
        for served in self.bundles:
            served.changed.append(self._forget_results_of(served))
        metrics.watch("requests_waiting", lambda: self.places.taken)
        metrics.watch("held_images", lambda: len(self.images))
        metrics.watch("held_results", lambda: len(self.results))
        metrics.watch("held_bytes", lambda: self.images.n_bytes + self.results.n_bytes)

    def close(self) -> None:
        """End threads and processes."""
        self.decoders.close()  # first: who waits for one goes on
        for threads in (self._reading, self._drawing):
            threads.shutdown(cancel_futures=True)
        for thread in self._synthesis.values():
            thread.close()

    def bundle(self, name: str | None = None) -> ServedBundle:
        """Find a bundle by its name; the first without one."""
        return bundle_of(self.bundles, name)

    async def drawn(self, work: Callable[[], T]) -> T:
        """Do something that takes a while in a thread for such."""
        return await asyncio.get_running_loop().run_in_executor(self._drawing, work)

    async def read(self, upload: UploadFile) -> Read:
        """Decode an upload, and hold it for the page to come back to.

        Raises:
            ImageError: It cannot be decoded.
        """

        def work() -> Read:
            with in_a_folder(upload) as (folder, name):
                return self._held(folder, name)

        return await self._in_reading(work)

    async def read_file(self, path: Path) -> Read:
        """Decode a file that lies on the disk, and hold it; see `read`."""
        return await self._in_reading(lambda: self._held(path.parent, path.name))

    def held(self, image: str) -> Read:
        """Give an image that is held.

        Raises:
            GoneError: It is not.
        """
        found = self.images.get(image)
        return Read(found.file, image)

    async def record(self, read: Read, wish: Wish, bundle: str | None = None) -> ImageRecord:
        """Tell what a held file holds and what would be synthesized from it."""
        assert read.held is not None
        held, served = self.images.get(read.held), self.bundle(bundle)
        return await self._in_reading(lambda: image_record(held, wish, served.use().synthesizer.preparation))

    async def synthesize(self, read: Read, wish: Wish, bundle: str | None = None) -> list[HeldResult]:
        """Synthesize from a file that was read: one result, or one for each region that is found.

        Raises:
            ImageError: It cannot be used.
            BundleError: The bundle cannot.
            DatabaseError: Its database cannot, or nobody is left.
        """
        served, started = self.bundle(bundle), time.perf_counter()

        def work() -> list[HeldResult]:
            with self.decoders.room_for(read.file.decoded.image.pixels.nbytes):
                return self._synthesized(read, wish, served, started)

        return await self._in_reading(work)

    async def synthesize_upload(self, upload: UploadFile, wish: Wish, bundle: str | None = None) -> list[HeldResult]:
        """Synthesize from an upload that is not held; see `read` and `synthesize`."""
        served, started = self.bundle(bundle), time.perf_counter()

        def work() -> list[HeldResult]:
            with in_a_folder(upload) as (folder, name), self.decoders.decode(folder, name) as decoded:
                return self._synthesized(Read(ReadFile(name, decoded), None), wish, served, started)

        return await self._in_reading(work)

    def _synthesized(self, read: Read, wish: Wish, served: ServedBundle, started: float) -> list[HeldResult]:
        """Synthesize and hold the results; once anew where the bundle has changed meanwhile: somebody may be gone."""
        results = self._from_one_state(read, wish, served, started)
        if not self._are_current(results):
            results = self._from_one_state(read, wish, served, started)
            if not self._are_current(results):
                raise GoneError(_CHANGED)
        self.metrics.count("syntheses", len(results))
        return results

    def _are_current(self, results: list[HeldResult]) -> bool:
        """Whether what results came from is what counts now; else they are dropped."""
        current = all(one.served.use().number == one.state_number for one in results)
        if not current:
            for one in results:
                self.results.drop(one.record.id)
        return current

    def _from_one_state(self, read: Read, wish: Wish, served: ServedBundle, started: float) -> list[HeldResult]:
        """Ask for the syntheses, wait for them, and hold the results."""
        asked, prepared = self._asked(read, wish, served), time.perf_counter()
        thread = self._synthesis[served.name]
        waiting = [thread.submit(one.source, one.wish.exclude_subject) for one in asked]
        looks = served.use().synthesizer.doubts  # here, meanwhile: a batch would wait for all its queries' looks
        doubts = [looks(one.source) for one in asked]
        results = []
        for one, future, own_doubts in zip(asked, waiting, doubts, strict=True):
            try:
                answer = future.result()
                answer = replace(answer, synthesis=replace(answer.synthesis, doubts=own_doubts))
            except ImageError as error:  # another number of channels than the encoder's
                raise ImageError(f"image {one.name}: {error}") from error
            timing = {
                "prepare": round(1000 * (prepared - started), 1),
                "synthesize": round(1000 * (time.perf_counter() - prepared), 1),
            }
            name = self.results.new_id()
            result = held_result(name, one, answer, served, self.settings.edges, timing)
            self.results.put(result, result.n_bytes, name)
            results.append(result)
        return results

    def result(self, name: str) -> HeldResult:
        """Give a result whose bundle is what it was.

        Raises:
            GoneError: It is not held, or the bundle has changed: somebody may have been removed.
        """
        result = self.results.get(name)
        if not self._are_current([result]):
            raise GoneError(_CHANGED)
        return result

    def _held(self, folder: Path, name: str) -> Read:
        with self.decoders.decode(folder, name, picture=True) as decoded:
            image = HeldImage(self.images.new_id(), ReadFile(name, decoded))
        return Read(image.file, self.images.put(image, image.n_bytes, image.id))

    def _asked(self, read: Read, wish: Wish, served: ServedBundle) -> list[Asked]:
        synthesizer = served.use().synthesizer
        preparation = synthesizer.preparation
        decoded, asked = read.file.decoded, []
        for query in read.file.queries(wish, preparation):
            side = query.facts.side
            asked.append(
                Asked(
                    query.path.name,
                    query.stem,
                    query.facts,
                    synthesizer.prepare(query.image, side=side, center=query.center),
                    decoded.source,
                    decoded.source_problem,
                    decoded.sha256,
                    mirrored=preparation is not None and side in preparation.mirror_sides,
                    wish=wish,
                    finds=wish.finds(decoded.image, preparation),
                    image=read.held,
                )
            )
        return asked

    async def _in_reading(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    def _forget_results_of(self, served: ServedBundle) -> Callable[[int], None]:
        return lambda number: self.results.drop_where(
            lambda result: result.served is served and result.state_number != number
        )
