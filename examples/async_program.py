# An async program: many tasks at once, each with a trace of its own; a timeout is no error, it was cancelled.
import asyncio
from collections.abc import AsyncIterator

import otel_perfmon

monitor = otel_perfmon.configure("async.db", service_name="crawler")


@monitor.monitor("fetch_page")
async def fetch_page(number: int) -> str:
    async with monitor.monitor("connect"):
        await asyncio.sleep(0.002)
    async with monitor.monitor("download", attributes={"page.number": number}):
        await asyncio.sleep(0.004 * number)
    return f"page {number}"


@monitor.monitor("read_lines")  # an async generator is timed over its run
async def read_lines(page: str) -> AsyncIterator[str]:
    for line in range(3):
        await asyncio.sleep(0.001)
        yield f"{page}, line {line}"


async def crawl(number: int) -> int:
    async with monitor.monitor("crawl"):
        page = await asyncio.wait_for(fetch_page(number), timeout=0.06)
        return len([line async for line in read_lines(page)])


async def main() -> list:
    return await asyncio.gather(*(crawl(number) for number in (1, 2, 3, 30)), return_exceptions=True)


print("results:", asyncio.run(main()))
with otel_perfmon.open_store("async.db") as store:
    for crawled in store.find_spans(otel_perfmon.SpanQuery(operation="crawl", order="slowest")):
        print(f"\ntrace {crawled.trace_id}")
        trace = store.get_trace(crawled.trace_id)
        depths: dict = {}
        for span in trace.spans:
            depth = depths[span.span_id] = depths.get(span.parent_span_id, -1) + 1
            outcome = span.error_type or span.attributes.get("perfmon.outcome", "")
            print(f"{span.duration_ms:8.2f} ms  {'  ' * depth}{span.name}  {outcome}")
monitor.shutdown()
