"""Take the pictures of the documentation from the real demo: `make screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser.chromium import Browser, open_chromium
from tests.site import ROOT, run_site

FOLDER = ROOT / "docs" / "images"
PICTURES = {
    "layer": "/smollm2-135m/layers/12/?sort=score",
    "neuron": "/smollm2-135m/layers/12/neurons/374/",
    "overlay": "/smollm2-135m/layers/12/neurons/374/?view=overlay#simulation",
}
WIDTH, HEIGHT = 1280, 900


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        folder = Path(data)
        with (
            run_site("neuronviewer.cli", "demo", "--port=0", data=folder) as site,
            open_chromium(folder / "profile") as driver,
        ):
            browser = Browser(driver, site.url)
            browser.set_screen(WIDTH, HEIGHT)
            for name, address in PICTURES.items():
                browser.open(address)
                driver.save_screenshot(str(FOLDER / f"{name}.png"))


if __name__ == "__main__":
    main()
