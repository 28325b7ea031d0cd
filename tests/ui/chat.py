"""A chat panel as a customer uses it."""


class ChatPanelPage:
    """A chat panel on a page: say something, wait for the reply, move by the Tab key."""

    def __init__(self, page):
        self.page = page

    def wait_until_open(self):
        """Wait until there is a field to type into."""
        self.page.locator(".al-input input").wait_for()

    def said(self):
        """What the customer said, message by message."""
        return self._texts(".al-mine")

    def replies(self):
        """What the agent answered, as far as it is complete."""
        return self._texts(".al-theirs")

    def _texts(self, css_class):
        script = "all => all.map(one => [...one.childNodes].slice(1).map(n => n.textContent).join(''))"
        return self.page.locator(f".al-log {css_class}").evaluate_all(script)

    def wait_for_replies(self, count):
        """Wait until the agent has answered ``count`` messages, each with what is behind it."""
        self.page.wait_for_function(
            "count => document.querySelectorAll('.al-log .al-trace summary').length === count", arg=count
        )

    def say(self, text):
        """Type a message, press Enter and wait for the whole reply."""
        before = len(self.said())
        self.page.locator(".al-input input").click()
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Enter")
        self.wait_for_replies(before + 1)
        return self.replies()[-1]

    def new_conversation(self):
        """Press New conversation."""
        self.page.locator(".al-new").click()
        self.wait_for_replies(0)

    def is_at(self, selector):
        """Whether the focus is on (or in) what the selector names."""
        return self.page.evaluate(
            "s => !!document.activeElement.closest(s) || document.activeElement.matches(s)", selector
        )

    def tab_to(self, selector, back=False, most=40):
        """Press Tab (or Shift+Tab) until the focus is there; False if it never is."""
        for _ in range(most):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            if self.is_at(selector):
                return True
        return False

    def outline(self):
        """How the focused control is outlined, such as solid or none."""
        return self.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")


class ChatPage(ChatPanelPage):
    """The demo page, which is little more than the panel."""

    def __init__(self, page, address):
        super().__init__(page)
        page.goto(f"{address}/")
        self.wait_until_open()
