"""`python -m include.local_sagemaker [drill]`: the old commands. They print the new name and do the same."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["drill"]:
        print("`python -m include.local_sagemaker drill` is now `spot-drill`.", file=sys.stderr)
        from spot_drill.command import main as drill

        return drill(given[1:])
    print("`python -m include.local_sagemaker` is now `local-sagemaker`.", file=sys.stderr)
    from local_sagemaker.__main__ import main as serve

    return serve(given)


if __name__ == "__main__":
    sys.exit(main())
