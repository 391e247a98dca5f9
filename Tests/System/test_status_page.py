"""The status page in a real browser: under load, after a database outage, on a phone, in the dark. Screenshots are kept in
the folder of artefacts (SCADA_TEST_ARTEFACTS, else .build/artefacts)."""
import os
import pathlib
import re

import pytest

from support.metrics import status_json
from support.paths import ROOT
from support.tools import find
from support.wait import eventually

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not here")
ARTEFACTS = pathlib.Path(os.environ.get("SCADA_TEST_ARTEFACTS") or ROOT / ".build" / "artefacts") / "status-page"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(find, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        try:
            # Root may not use the sandbox, and the page is our own.
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        except playwright.Error as error:
            pytest.skip(f"no browser can be had: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, request):
    """Opens the page of a daemon; whatever the page complains about, or asks of others, fails the test."""
    complaints, broken, contexts = [], [], []

    def open_page(daemon, size=DESKTOP, scheme="light", **options):
        context = browser.new_context(viewport=size, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        process = daemon.process

        def said(line):
            if line.type not in ("error", "warning") or "ERR_CONNECTION_REFUSED" in line.text:
                # What a daemon that is not there does not answer is the browser's own line.
                return
            if "ERR_CONNECTION_RESET" in line.text or "ERR_EMPTY_RESPONSE" in line.text:
                broken.append((process, line.text))
            else:
                complaints.append(line.text)

        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def asked(asked):
            if not asked.url.startswith((daemon.http_base, "data:")):
                complaints.append(f"asks for {asked.url}")

        page.on("request", asked)
        page.goto(daemon.http_base + "/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    # An answer that breaks off is the end of a daemon that was killed meanwhile, or a fault of one that lives.
    complaints += [text for process, text in broken if process.poll() is None]
    assert not complaints, complaints


def keep(page, name, whole=True):
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=whole)


def text(page, selector):
    return " ".join(page.locator(selector).all_inner_texts())


def fits(page):
    """Nothing lies beyond the right edge."""
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


CONTRAST = """() => {
  const channel = value => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
  const light = c => 0.2126 * channel(c.r) + 0.7152 * channel(c.g) + 0.0722 * channel(c.b);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.a > 0) return colour;
    }
    return {r: 255, g: 255, b: 255, a: 1};
  };
  const worst = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length || element.closest('script, style, title')) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) worst.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)} "${element.textContent.slice(0, 40)}"`);
  }
  return worst;
}"""


@pytest.fixture
def plant(platform, own_postgres, make_daemon, make_server):
    """Two tenants under load, one of them on a database that may be stopped; a server that nobody finds; a tag that the
    server does not know."""
    own_postgres.start()
    north = platform.add_tenant("north-field")
    south = platform.add_tenant("south-field", url=own_postgres.create_database("south"))
    servers = [make_server(100), make_server(50)]
    daemon = make_daemon(platform.master_url).start()
    # The daemon makes the schema of a tenant that was not migrated.
    eventually(lambda: south.value("SELECT to_regclass('tag_mappings') IS NOT NULL"), "the schema is there")
    north.add_connection(servers[0], name="Battery 7")
    south.add_connection(servers[1], name="Pump station 2")
    for tenant, server in zip((north, south), servers):
        tenant.wait_for_count(len(server.names), watch=daemon.must_live)
        server.write(interval=0.2)
    south.database = own_postgres
    return daemon, north, south


def samples(daemon):
    return status_json(daemon.http_base)["history"]["samples"]


def test_under_load_it_says_that_all_is_well_and_refreshes_in_place(plant, open_page):
    daemon, north, south = plant
    eventually(lambda: sum(each["stored_per_second"] > 100 for each in samples(daemon)) >= 8, "the charts have a line")
    page = open_page(daemon)
    assert text(page, "h1") == "All well" and page.title().startswith("All well")
    assert {"North-Field", "South-Field"} <= set(page.locator("td:first-child b").all_inner_texts())
    assert page.locator("figure svg path.line").count() == 4
    drawn = page.locator("path.received").get_attribute("d")
    assert drawn.count("L") >= 5, drawn
    keep(page, "load-light")
    assert fits(page) and page.evaluate(CONTRAST) == []
    dark = open_page(daemon, scheme="dark")
    keep(dark, "load-dark")
    assert dark.evaluate(CONTRAST) == []
    shade = "(getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0))"
    assert dark.evaluate(shade) < 150 and page.evaluate(shade) > 600
    phone = open_page(daemon, size=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert fits(phone)
    keep(phone, "load-phone")


    refreshes_in_place(open_page(daemon))
    tells_when_the_daemon_is_gone(open_page(daemon), daemon)


def refreshes_in_place(page):
    page.set_viewport_size({"width": 1280, "height": 300})
    # Marks on the nodes and what a person has done to the page must outlive refreshes.
    page.evaluate("""() => {
      document.querySelector('table').mark = document.querySelector('h1').mark = 'kept';
      scrollTo(0, 120);
      const name = [...document.querySelectorAll('td b')].find(each => each.textContent === 'Battery 7');
      getSelection().selectAllChildren(name);
      window.loads = (window.loads || 0) + 1;
    }""")
    clock = text(page, "header")
    drawn = page.locator("path.received").get_attribute("d")
    for _ in range(2):
        eventually(lambda: (page.wait_for_timeout(100), text(page, "header") != clock)[1], "the page has refreshed itself")
        clock = text(page, "header")
    assert page.locator("path.received").get_attribute("d") != drawn
    state = page.evaluate("""[document.querySelector('table').mark, document.querySelector('h1').mark, scrollY,
      String(getSelection()).trim(), window.loads]""")
    assert state == ["kept", "kept", 120, "Battery 7", 1], state


def tells_when_the_daemon_is_gone(page, daemon):
    assert not page.locator("#stale").is_visible()
    daemon.kill()
    page.locator("#stale").wait_for(state="visible", timeout=30_000)
    assert "What you see is old" in text(page, "#stale") and page.title().startswith("No answer")
    keep(page, "gone", whole=False)
    daemon.start()
    page.locator("#stale").wait_for(state="hidden", timeout=30_000)


def test_after_a_database_outage_what_matters_is_first(plant, open_page):
    daemon, north, south = plant
    south.close()
    eventually(lambda: len(samples(daemon)) > 5, "there is a history")
    south.database.stop()
    # Beside it two things that can wait.
    battery = north.value("SELECT id::text FROM scada_connections")
    north.add_mapping(battery, "ns=2;s=NoSuchNode", "0b0f6a52-9d3e-4a7c-8a5e-0d6f1c2b0001")
    page = open_page(daemon)
    eventually(
        lambda: (page.wait_for_timeout(200), "problem" in text(page, "h1") and "NoSuchNode" in text(page, "main"))[1],
        "the page tells of the outage", watch=daemon.must_live,
    )
    eventually(lambda: (page.wait_for_timeout(200), re.search(r"oldest \d\d s", text(page, "main")))[1], "the backlog grows")
    assert "attention now" in text(page, "h1.critical") and page.title().startswith("1 problem")
    first = page.locator(".problems li").first
    said = first.inner_text()
    assert first.get_attribute("class") == "critical" and "South-Field" in said and "wait in the journal" in said, said
    assert "nothing is lost while it has room" in said and "→" in first.evaluate(
        "each => getComputedStyle(each.querySelector('.advice'), '::before').content"
    )
    assert first.bounding_box()["y"] + first.bounding_box()["height"] < DESKTOP["height"] / 2, "seen without scrolling"
    assert "cannot be used" in said and "check that the server runs" in said.lower(), said
    # The tenant that suffers stands above the one that does not.
    assert page.locator("h2:has-text('Tenants') + table td:first-child b").all_inner_texts() == ["South-Field", "North-Field"]
    assert page.evaluate(CONTRAST) == [] and fits(page)
    keep(page, "outage-light")
    dark = open_page(daemon, scheme="dark")
    assert dark.evaluate(CONTRAST) == []
    keep(dark, "outage-dark")
    phone = open_page(daemon, size=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    box = phone.locator(".problems li").first.bounding_box()
    assert fits(phone) and box["y"] + box["height"] < PHONE["height"], "seen on a phone without scrolling"
    keep(phone, "outage-phone")
    keep(phone, "outage-phone-first", whole=False)
    south.database.start()
    eventually(
        lambda: (page.wait_for_timeout(200), "Nothing urgent" in text(page, "h1.warning"))[1],
        "the page tells that it is over", timeout=90, watch=daemon.must_live,
    )
    keep(page, "afterwards")
