"""The page of `agentlab demo` as its visitors meet it: by keyboard, on a telephone's width, two at once, and when its kernel dies."""

import contextlib
import http.client
import re
import time

import psutil
import pytest

from tests.ui import servers
from tests.ui.browser import NARROW, PATIENCE_MS, WIDE, picture, serious_findings
from tests.ui.chat import ChatPage

ANSWER_SECONDS = 2


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The running page: (address, server process)."""
    with servers.demo_page(tmp_path_factory.mktemp("demo")) as running:
        yield running


@contextlib.contextmanager
def visitors(browser, address):
    """A function that opens the page as a new visitor; in the end all of them leave."""
    contexts = []

    def open_page(size=WIDE):
        contexts.append(browser.new_context(viewport=size))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        page = contexts[-1].new_page()
        page.seen = []
        page.on("request", lambda request: page.seen.append(request.url))
        return ChatPage(page, address)

    yield open_page
    for context in contexts:
        for page in context.pages:
            page.close()
        context.close()


@pytest.fixture(scope="module")
def first(browser, demo):
    """One visitor whom several tests share."""
    with visitors(browser, demo[0]) as visit:
        yield visit()


@pytest.fixture
def visit(browser, demo):
    """A function that opens the page as a new visitor, who leaves when the test is done."""
    with visitors(browser, demo[0]) as visit:
        yield visit


@pytest.fixture
def visitor(first):
    """The shared visitor at the beginning of a new conversation, at full width."""
    first.page.set_viewport_size(WIDE)
    first.new_conversation()
    return first


def test_the_page_says_what_it_is_and_what_it_may_not_be_trusted_with(first):
    page = first.page
    assert page.title() == "Talk with the shop's agent"
    assert page.locator("html").get_attribute("lang") == "en"
    headings = page.locator("h1, h2, h3").evaluate_all("all => all.map(h => h.tagName + ' ' + h.textContent.trim())")
    assert [re.sub(r"[^\w' ]", "", h) for h in headings] == [
        "H1 Talk with the shop's agent",
        "H2 The conversation",
        "H2 What it may not be trusted with",
    ]
    assert page.locator("main").count() == 1
    picture(page, "demo-opened", full_page=True)


def test_the_page_shows_no_code_and_asks_no_other_machine(first):
    assert "show_page" not in first.page.content()
    assert first.page.get_by_text("Traceback").count() == 0
    others = [
        u for u in first.page.seen if not u.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
    ]
    assert others == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
def test_by_the_keyboard_alone_an_order_is_cancelled_after_a_yes(visit, size):
    visitor = visit(size)
    page = visitor.page
    assert visitor.tab_to(".al-input input"), "Tab leads to the field"
    assert visitor.outline() != "none", "one sees where one is"
    page.keyboard.type("Please cancel my order W20411.")
    page.keyboard.press("Enter")
    visitor.wait_for_replies(1)
    assert visitor.is_at(".al-input input"), "the next message can be typed at once"
    page.keyboard.type("olu.adeyemi@example.com")
    page.keyboard.press("Enter")
    visitor.wait_for_replies(2)
    page.locator(".al-yes:enabled").wait_for()
    assert visitor.tab_to(".al-yes"), "Tab leads to the yes"
    assert visitor.outline() != "none"
    page.keyboard.press("Enter")
    visitor.wait_for_replies(3)
    assert re.search(r"cancelled|canceled", visitor.replies()[-1])
    page.get_by_role("status").filter(has_text=visitor.replies()[-1][:40]).wait_for()  # a screen reader hears it
    assert visitor.tab_to(".al-trace summary", back=True), "Shift+Tab leads to what is behind the replies"
    page.keyboard.press("Enter")
    assert "cancel_order" in page.locator(".al-trace details[open]").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], "nothing lies beyond the right edge"
    picture(page, f"demo-cancelled-{size['width']}", full_page=True)


def test_a_click_on_an_example_says_it(visitor):
    visitor.page.locator(".al-example").filter(has_text="Norway").click()
    visitor.wait_for_replies(1)
    assert "Norway" in visitor.said()[-1]


def test_what_a_visitor_types_is_shown_as_text(visitor):
    visitor.say("<img src=x onerror=\"document.title='broken'\"> <b>hello</b>")
    assert visitor.said()[-1].endswith("<b>hello</b>")
    assert visitor.page.title() == "Talk with the shop's agent"


def test_a_message_is_answered_within_two_seconds(visitor):
    texts = (
        "where is my parcel W20411?", "what does delivery to Norway cost?", "I want to talk to a person",
        "can I return headphones?", "the screen of my tablet is cracked", "where is my parcel W20411?",
    )  # fmt: skip
    seconds = []
    for text in texts:
        begun = time.monotonic()
        visitor.say(text)
        seconds.append(time.monotonic() - begun)
    print(f"Seconds from Enter to the whole reply: {', '.join(f'{s:.2f}' for s in seconds)}")
    assert min(seconds) < ANSWER_SECONDS  # the fastest: the others may have waited for whatever else runs here


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
def test_axe_finds_nothing_serious(visitor, size):
    visitor.page.set_viewport_size(size)
    visitor.say("Please cancel my order W20411.")
    visitor.say("olu.adeyemi@example.com")
    for trace in visitor.page.locator(".al-trace summary").all():
        trace.click()
    assert serious_findings(visitor.page) == []


def test_two_visitors_at_once_have_conversations_and_shops_of_their_own(visitor, visit):
    other = visit()
    visitor.say("Please cancel my order W20412.")
    visitor.say("olu.adeyemi@example.com")
    other.say("where is my order W20412?")
    visitor.say("yes")
    assert re.search(r"cancelled|canceled", visitor.replies()[-1])
    assert len(other.replies()) == 1
    assert "Olu" not in other.replies()[0], "who one visitor is does not count for the other"
    other.say("olu.adeyemi@example.com")
    assert not re.search(r"cancelled|canceled", other.replies()[-1])


def test_when_a_kernel_dies_its_page_says_so_and_the_other_visitor_goes_on(visitor, visit, demo):
    unlucky = visit()
    unlucky.say("hello")
    kernel_of(unlucky, demo[1]).kill()
    alert = unlucky.page.get_by_role("alert")
    alert.filter(has_text="This conversation has ended").wait_for()
    assert unlucky.page.locator(".al-input input").is_disabled()
    assert unlucky.said() == ["hello"], "what was said stays readable"
    picture(unlucky.page, "demo-kernel-gone")
    visitor.say("what does delivery to Norway cost?")
    alert.get_by_role("link", name="Begin a new conversation").click()
    unlucky.wait_until_open()
    unlucky.say("hello again")
    assert len(unlucky.replies()) == 1


def test_the_kernel_of_a_visitor_who_leaves_is_ended(visit, demo):
    guest = visit()
    kernel = kernel_of(guest, demo[1])
    guest.page.close()
    kernel.wait(60)


def test_only_this_machine_is_served_and_under_no_other_name(demo):
    address, server = demo
    family = [server, *psutil.Process(server.pid).children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in psutil.Process(p.pid).net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    connection.request("GET", "/", headers={"Host": "agent.example.com"})
    assert connection.getresponse().status == 403


def kernel_of(visitor, server):
    """The process behind a visitor's page."""
    name = visitor.page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    children = psutil.Process(server.pid).children(recursive=True)
    return next(p for p in children if any(name in part for part in p.cmdline()))
