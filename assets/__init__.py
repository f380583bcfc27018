"""Models and small data files that ship with the package."""

from pathlib import Path


def asset_path(name: str) -> Path:
    """Return the path of a shipped file, for example `asset_path("push_t.xml")`.

    Raises `FileNotFoundError`, with the names there are, for a file that does not ship.
    """
    folder = Path(__file__).parent
    path = folder / name
    if not path.is_file():
        present = sorted(p.name for p in folder.iterdir() if p.is_file() and p.suffix != ".py")
        raise FileNotFoundError(f"dexworld ships no asset {name!r}; it ships {present}.")
    return path
