"""The usual Python pipeline, to compare with: asyncua's client hands each change to a queue, from which asyncpg copies in
batches. Run as a process of its own; prints one line of JSON.
"""
import asyncio
import json
import resource
import subprocess
import sys
import time

COLUMNS = ["well_id", "tag_node_id", "timestamp", "value", "quality", "status_code", "value_text"]


def run(database, endpoint, seconds):
    """Measures for so long; the figures are named like those of the daemon."""
    done = subprocess.run(
        [sys.executable, __file__, database, endpoint, str(seconds)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the Python pipeline failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


async def main(database, endpoint, seconds):
    import asyncpg
    from asyncua import Client

    pool = await asyncpg.connect(database)
    tags = await pool.fetch("SELECT well_id, opc_node_id FROM tag_mappings WHERE deleted_at IS NULL")
    wells = {row["opc_node_id"]: row["well_id"] for row in tags}
    queue = asyncio.Queue()

    class Handler:
        def datachange_notification(self, node, value, data):
            reading = data.monitored_item.Value
            queue.put_nowait((
                wells[node.nodeid.to_string()], node.nodeid.to_string(), reading.SourceTimestamp, float(value), "Good", None, None,
            ))

    stored = 0

    async def store():
        nonlocal stored
        while True:
            rows = [await queue.get()]
            while len(rows) < 10_000:
                try:
                    rows.append(queue.get_nowait())
                except asyncio.QueueEmpty:
                    break
            await pool.copy_records_to_table("scada_readings", records=rows, columns=COLUMNS)
            stored += len(rows)

    async with Client(endpoint) as client:
        writer = asyncio.create_task(store())
        nodes = [client.get_node(row["opc_node_id"]) for row in tags]
        for start in range(0, len(nodes), 1000):
            subscription = await client.create_subscription(500, Handler())
            await subscription.subscribe_data_change(nodes[start:start + 1000])
        await asyncio.sleep(3)
        before, used, begun = stored, resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        await asyncio.sleep(seconds)
        now, span, count = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - begun, stored - before
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        print(json.dumps({
            "rate": count / span, "daemon_us": cpu / max(count, 1) * 1e6, "daemon_cores": cpu / span,
            "resident_mib": now.ru_maxrss / 1024,
        }), flush=True)
        writer.cancel()
    await pool.close()


if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(main(sys.argv[1], sys.argv[2], float(sys.argv[3])), float(sys.argv[3]) + 90))
    except (asyncio.CancelledError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
