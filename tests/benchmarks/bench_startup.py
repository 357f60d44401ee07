"""Processor time of `dcase-asd --help`, and what it imports."""

import resource
import statistics
import subprocess
import sys

ROUNDS = 9
TARGET = 0.4


def processor_seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    help_text = statistics.median(
        processor_seconds("-m", "dcase_asd", "--help") for _ in range(ROUNDS)
    )
    bare = statistics.median(processor_seconds("-c", "pass") for _ in range(ROUNDS))
    print(
        f"dcase-asd --help: {help_text:.2f} s of processor time, target {TARGET} "
        f"({bare:.2f} s of it Python's own start)"
    )


if __name__ == "__main__":
    main()
