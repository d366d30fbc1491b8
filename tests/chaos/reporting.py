"""The account as a person reads it."""

from __future__ import annotations

from tests.chaos.runner import Result

SHOWN = 10


def show(result: Result) -> None:
    """Print what became of the items, what must not be, and what it was done to."""
    report = result.report
    print("\n" + ", ".join(f"{name} {count:,}" for name, count in report["totals"].items()))
    print(f"\n{'items':<18} how they ended")
    for kind, ends in report["ends"].items():
        print(f"{kind:<18} " + ", ".join(f"{how} {count:,}" for how, count in sorted(ends.items(), key=lambda each: -each[1])))
    print("\nfaults played: " + ", ".join(f"{name} {count}" for name, count in report["faults played"].items()))
    excused = report["copies too many, by the attempt that was cut off"]
    print(f"\ncopies too many, each with an attempt on record that was cut off: {excused or 'none'}")
    print(f"for a person to look at, since nobody can know: {report['for a person'] or 'none'}")
    print(f"alerts: {report['house']['alerts'] or 'none'}")
    for name in result.account.FAULTS:
        found = getattr(result.account, name)
        print(f"{name:<12} {len(found)}")
        for each in found[:SHOWN]:
            print(f"             {each}")
    print("FAILED" if result.failed else "nothing lost, nothing doubled")
