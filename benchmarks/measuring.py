"""CPU and memory of processes, as benchmarks take them."""

import threading
import time
from contextlib import suppress

import psutil


def tree_cpu(process: psutil.Process) -> float:
    """CPU of a process, of all that it started, and of what of it has ended."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


class Memory(threading.Thread):
    """Peak memory of a process tree, shared pages counted once (PSS), sampled every 0.2 s; with ``servers`` that of PostgreSQL, too."""

    def __init__(self, pid: int, servers: bool = True):
        super().__init__(daemon=True)
        self.process, self.servers, self.peak, self.go = psutil.Process(pid), servers, 0, True

    def run(self) -> None:
        while self.go:
            with suppress(psutil.Error):
                tree = {self.process, *self.process.children(recursive=True)}
                if self.servers:
                    tree |= {one for one in psutil.process_iter(["name"]) if one.info["name"] == "postgres"}
                self.peak = max(self.peak, sum(one.memory_full_info().pss for one in tree))
            time.sleep(0.2)
