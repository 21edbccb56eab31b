import re

import pytest
from matplotlib.figure import Figure

from skscratch.experiments.page import render_html

TEXT = """\
# A title & more

Some *text*.

## First part, of two

| name | figure |
|---|---:|
| a < b | 1 |

![A picture](<my picture.png>)

## Second

<details><summary>More</summary>

| x |
|---|
| 2 |

</details>
"""


@pytest.fixture
def html(tmp_path):
    Figure().savefig(tmp_path / "my picture.png")
    return render_html(TEXT, tmp_path)


def test_headings_can_be_jumped_to(html):
    assert "<title>A title &amp; more</title>" in html
    assert html.count("<h1>A title &amp; more</h1>") == 1
    names = re.findall(r'<h2 id="([^"]+)">', html)
    assert names == ["first-part-of-two", "second"]
    assert re.findall(r'<a href="#([^"]+)">', html) == names


def test_a_wide_table_is_moved_alone_and_reached_by_the_keyboard(html):
    assert html.count('<div class="table" tabindex="0">\n<table>') == 2
    assert html.count("</table>\n</div>") == 2


def test_pictures_are_inside_and_keep_their_text(html):
    (picture,) = re.findall(r"<img [^>]+>", html)
    assert 'src="data:image/png;base64,' in picture
    assert 'alt="A picture"' in picture


def test_text_is_escaped_and_details_stay(html):
    assert "<td>a &lt; b</td>" in html
    assert "<details><summary>More</summary>" in html


def test_a_missing_picture_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"my picture\.png"):
        render_html(TEXT, tmp_path)
