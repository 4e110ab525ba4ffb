"""Puts the results of the benchmarks, and the pictures of the notebooks, into the site: their pages lie beside what made them."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
SHOWN = ("benchmarks/**/*.md", "benchmarks/results/**/*.png", "notebooks/figures/*.png")


def on_files(files, config):
    """Adds the files, and a page that lists those of the results."""
    paths = sorted(path.relative_to(ROOT).as_posix() for pattern in SHOWN for path in ROOT.glob(pattern))
    for path in paths:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    pages = [path for path in paths if path.endswith(".md")]
    rows = "\n".join(f"{'    ' * _is_part(path)}* [{_title(ROOT / path)}]({path})" for path in pages)
    files.append(File.generated(config, "measured.md", content=f"# What was measured\n\nAlso what did not work.\n\n{rows}\n"))
    return files


def on_page_markdown(markdown, page, **_):
    """Turns links that are right in the repository into those of the site; of files that it has not it says the place."""
    markdown = re.sub(r"\]\((?:\.\./)+(benchmarks|notebooks)/", lambda found: f"]({_up(page)}{found[1]}/", markdown)
    return re.sub(r"\[([^]]+)\]\((?:\.\./)*([^)]*\.(?:ipynb|json|py))\)", r"\1 (`\2`)", markdown)


def on_page_content(html, page, **_):
    """Gives the room of a table of contents to the text where there is none: code and tables need it. No line ends in an option."""
    if not any(section.children for section in page.toc):
        page.meta.setdefault("hide", ["toc"])
    return re.sub(r"<code>[^<]*</code>", lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)


def _up(page):
    return "../" * page.file.src_uri.count("/")


def _title(path):
    found = re.search(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else path.stem.replace("_", " ").capitalize()


def _is_part(path):
    """Says whether a page belongs under the README of its folder, which comes before it."""
    return not path.endswith("README.md") and (ROOT / path).with_name("README.md").exists()
