"""The configuration of Sphinx: `make site` builds the site once for each language, `OHLOL_SITE_LANGUAGE=en` or `zh`."""

import gettext
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import site_sources
from sphinx.application import Sphinx
from sphinx.search.zh import SearchChinese

import ohlol

LANGUAGE = os.environ.get("OHLOL_SITE_LANGUAGE", "en")
OTHER = "en" if LANGUAGE == "zh" else "zh"
HIDDEN = ("log",)
"""Pages that others link to and that are in no list of pages: the notebook of experiments."""

project = "ohlol"
author = "the authors of ohlol"
version = release = ohlol.__version__
language = "zh_CN" if LANGUAGE == "zh" else "en"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["**/*.zh.md", "*.zh.md"]
# `sphinx -n` checks the links of pages. Annotations name types of torch, whose index is not read.
nitpick_ignore_regex = [("py:.*", ".*")]
default_role = "code"

myst_heading_anchors = 4
myst_heading_slug_func = "site_sources.slug"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autosummary_generate = True
autodoc_default_options = {
    # which scikit-learn makes, with references to its own documentation
    "exclude-members": "set_fit_request, set_predict_request, set_partial_fit_request, set_score_request"
}
suppress_warnings = ["ref.python"]  # an export of `ohlol` is described there and in its module
add_module_names = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "ohlol"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": ["view"]}  # the template of this button is the link to the other language
html_context = {"other": OTHER, "other_name": site_sources.LANGUAGES[OTHER]}


THEME_TEXTS = {
    "Back to top": "回到顶部",
    "Home": "首页",
    "Made with": "使用 ",
    "Next": "下一页",
    "On this page": "本页内容",
    "Previous": "上一页",
    '<a href="https://www.sphinx-doc.org/">Sphinx</a> and': '<a href="https://www.sphinx-doc.org/">Sphinx</a> 和 ',
    "Skip to content": "跳到正文",
}
"""What the theme says in English only."""


class ThemeTranslations(gettext.NullTranslations):
    """The texts of the theme, and those of Sphinx."""

    def gettext(self, message: str) -> str:
        """The text in Chinese."""
        return THEME_TEXTS.get(message.strip()) or super().gettext(message)


class SearchPairs(SearchChinese):
    """Chinese in pairs of characters, both in the index and in what the reader types, since words are not separated."""

    language_name = "English"  # the name of the stemmer, which reads the words in Latin letters
    CHINESE = re.compile(r"[\u4e00-\u9fff]+")
    js_splitter_code = r"""
var splitQuery = (query) =>
  query.split(/[^\p{L}\p{N}_]+/u).flatMap((word) =>
    word.split(/([\u4e00-\u9fff]+)/u).flatMap((part) =>
      /[\u4e00-\u9fff]/u.test(part) && part.length > 2
        ? Array.from({ length: part.length - 1 }, (_, i) => part.slice(i, i + 2))
        : part,
    ),
  ).filter((term) => term);
"""

    def split(self, input: str) -> list[str]:
        """The pairs of Chinese characters, and the words in other letters."""
        words = super().split(self.CHINESE.sub(" ", input))
        return words + [run[i : i + 2] for run in self.CHINESE.findall(input) for i in range(len(run) - 1)]


def read_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the text of a page by that for the site."""
    if page.startswith("api/"):
        return
    source[0] = site_sources.read_page(page, LANGUAGE)
    app.env.note_dependency(str(site_sources.source_path(page, LANGUAGE)))
    if page in HIDDEN:
        app.env.metadata[page].update(orphan=True, nosearch=True)


def translate_theme(app: Sphinx) -> None:
    """Give the theme's templates Chinese texts."""
    if LANGUAGE == "zh":
        translations = ThemeTranslations()
        translations.add_fallback(app.translator)
        app.builder.templates.environment.install_gettext_translations(translations)


def setup(app: Sphinx) -> None:
    """Connect the pages and the search to Sphinx."""
    app.connect("source-read", read_source)
    app.connect("builder-inited", translate_theme)
    app.add_search_language(SearchPairs)
