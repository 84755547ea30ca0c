"""What a page looks like to a person, to a screen reader and to the console."""

from importlib.resources import files
from pathlib import Path

from selenium.webdriver import Chrome

SHOTS = Path(__file__).parents[2] / "build" / "figures"


def emulate(driver: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def problems(driver: Chrome) -> list[str]:
    """What the browser's console complains about: scripts, the content policy."""
    return [entry["message"] for entry in driver.get_log("browser") if "favicon" not in entry["message"]]


def violations(driver: Chrome) -> list[str]:
    """What axe finds against WCAG and good practice on the page as it stands (dequeuniversity.com/rules/axe)."""
    driver.execute_script((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 10
    return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]


def faint(driver: Chrome) -> list[str]:
    """Visible text whose contrast is under 4.5 (WCAG 2.2, 1.4.3)."""
    return list(driver.execute_script(_FAINT))


_FAINT = """
const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const parse = (text) => text.match(/[0-9.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const back = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] === 1) return c; } return parse(getComputedStyle(document.body).backgroundColor); };
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !e.checkVisibility() || e.disabled) continue;
  const [one, other] = [light(parse(getComputedStyle(e).color)), light(back(e))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) found.push(`${e.tagName} ${e.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
}
return found;
"""
