"""How a language model writes, to look at: what a grammar overrules, and what temperature and top-p leave of a distribution."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.errors import AgentLabError
from agentlab.show import show_table
from agentlab.ui.panel import Panel, button, guarded, row

if TYPE_CHECKING:
    import torch

    from agentlab.language import Step, Structured

LONGEST_INPUT = 500  # characters of a request or a prompt
SHOWN_TOKENS = 10


# --- under a grammar -----------------------------------------------------------------------------------------


class GrammarViewer(Panel):
    """Token by token what was written under a grammar: what the model wanted, how many tokens were allowed, what was forced.

    ``write`` takes a text and gives what a language model's ``structured(..., trace=True)`` gives. ``examples`` are texts to
    click; where nothing is running the first of them is written, and its tokens stand in a table.
    """

    css_class = "al-grammar"

    def __init__(
        self,
        write: Callable[[str], Structured],
        examples: Sequence[str],
        caption: str = "What was written, token by token",
    ):
        super().__init__()
        if not examples:
            raise AgentLabError("A viewer of grammars needs an example or more to begin with.")
        self.write, self.examples, self.caption = write, list(examples), caption
        self.text, self.result, self.at = "", None, 0
        self.said = "Type a request and press Write."

    # --- what can be done ---

    def run(self, text: str) -> Structured:
        """Let the model write for a text; its tokens are then looked at from the first one that was overruled."""
        text = text.strip()
        if not text or len(text) > LONGEST_INPUT:
            raise AgentLabError(f"Type a request of 1 to {LONGEST_INPUT} characters; this has {len(text)}.")
        result = self.write(text)
        if not result.trace:
            raise AgentLabError("This text has no trace: call structured() with trace=True.")
        self.text, self.result = text, result
        self.at = next((n for n, s in enumerate(result.trace) if s.overruled and not s.forced), 0)
        if self._widget is not None:
            self._place.max = len(result.trace)
            self._place.disabled = False
            self._place.value = self.at + 1
            self._draw()
        self.announce(self.summary())
        return result

    def go(self, number: int) -> Step:
        """Look at token number ``number``, counted from 1."""
        trace = self._trace()
        if not 1 <= number <= len(trace):
            raise AgentLabError(f"There is no token {number}: the text has tokens 1 to {len(trace)}.")
        self.at = number - 1
        if self._widget is not None:
            self._place.value = number
            self._draw()
        self.announce(self.sentence())
        return trace[self.at]

    def summary(self) -> str:
        """How many tokens were free, forced and overruled."""
        trace = self._trace()
        forced = sum(s.forced for s in trace)
        overruled = sum(s.overruled for s in trace)
        return (
            f"{len(trace)} tokens: {forced} forced, so that the model was not asked; {len(trace) - forced} chosen by it. "
            f"In {overruled} {'place' if overruled == 1 else 'places'} it wanted another token."
        )

    def sentence(self) -> str:
        """What happened at the token that is looked at."""
        step = self._trace()[self.at]
        start = f"Token {self.at + 1}: {step.token!r}, to which the model gives {step.probability:.1%}."
        if step.forced:
            start += " It was the only one allowed: forced."
        else:
            start += f" {step.allowed:,} tokens were allowed."
        return start + (f" It wanted {step.wanted!r} ({step.wanted_probability:.1%})." if step.overruled else " It wanted that one, too.")  # fmt: skip

    def rows(self) -> list[dict]:
        """One row for each token."""
        return [
            {
                "token": repr(s.token), "probability": s.probability, "allowed": s.allowed,
                "how": "forced" if s.forced else "overruled" if s.overruled else "as wanted",
                "wanted": repr(s.wanted) if s.overruled else "", "its probability": s.wanted_probability if s.overruled else "",
            }
            for s in self._trace()
        ]  # fmt: skip

    def _trace(self) -> list[Step]:
        if self.result is None:
            raise AgentLabError("Nothing was written yet: run a request first.")
        return self.result.trace

    def leave(self) -> None:
        """Write the first example where nothing was written yet, and show its tokens as a table."""
        if self.result is None:
            self.run(self.examples[0])
        show_table(self.rows(), f"{self.caption}, for {self.text!r}. {self.summary()}")

    # --- the widget ---

    def build(self) -> Sequence:
        import ipywidgets as widgets

        self._field = widgets.Text(
            value=self.text or self.examples[0], description="Request", style={"description_width": "initial"},
            layout=widgets.Layout(flex="1 1 18em", width="auto"),
        )  # fmt: skip
        self._go = button("Write", self._clicked, "al-main", tooltip="Let the model write under the grammar")
        tried = [button(e, lambda e=e: self._example(e), "al-example", tooltip=f"Write for: {e}") for e in self.examples]  # fmt: skip
        self._place = widgets.IntSlider(
            value=self.at + 1, min=1, max=max(1, len(self.result.trace) if self.result else 1), description="Token",
            style={"description_width": "initial"}, layout=widgets.Layout(width="95%"), disabled=self.result is None,
        )  # fmt: skip
        self._place.observe(self._moved, names="value")
        self._page = widgets.HTML()
        if self.result is not None:
            self._draw()
        return [row(self._field, self._go), row(*tried), self._page, self._place]

    @guarded
    def _clicked(self) -> None:
        self.announce("Writing ...")
        self._go.disabled = True
        try:
            self.run(self._field.value)
        finally:
            self._go.disabled = False

    @guarded
    def _example(self, text: str) -> None:
        self._field.value = text
        self._clicked()

    @guarded
    def _moved(self, change: dict) -> None:
        if self.result is not None and change["new"] != self.at + 1:
            self.go(change["new"])

    def _draw(self) -> None:
        self._page.value = f"<p>{''.join(self._token(n, s) for n, s in enumerate(self._trace()))}</p>{LEGEND}<p>{html.escape(self.sentence())}</p>"

    def _token(self, number: int, step: Step) -> str:
        style = "border-bottom:3px double var(--al-line)" if step.forced else "border-bottom:3px solid var(--al-blue)"
        if step.overruled and not step.forced:
            style = "border-bottom:3px dashed var(--al-vermilion)"
        here = ";outline:2px solid var(--al-ink);font-weight:bold" if number == self.at else ""
        return f'<code style="padding:0 1px;{style}{here}">{html.escape(step.token)}</code>'


LEGEND = (
    '<p class="al-quiet"><span style="border-bottom:3px double var(--al-line)">double line: forced</span>, '
    '<span style="border-bottom:3px solid var(--al-blue)">solid: as the model wanted</span>, '
    '<span style="border-bottom:3px dashed var(--al-vermilion)">dashed: it wanted another one</span></p>'
)


# --- drawn freely --------------------------------------------------------------------------------------------


class DecodingPlayground(Panel):
    """What temperature and top-p leave of the distribution of the next token, and what is then written.

    ``logits_of`` takes a prompt and gives the logits (V,) of what may follow; ``write`` takes a prompt and fields of
    `agentlab.decoding.Decoding` and gives a text; ``name_of`` gives the text of a token's id. `of` takes all three from a model.
    """

    css_class = "al-decoding"

    def __init__(
        self,
        logits_of: Callable[[str], torch.Tensor],
        write: Callable[..., str],
        name_of: Callable[[int], str],
        prompt: str,
        caption: str = "The same model, other settings",
        max_tokens: int = 20,
    ):
        super().__init__()
        self.logits_of, self.write_text, self.name_of = logits_of, write, name_of
        self.caption, self.max_tokens = caption, max_tokens
        self.temperature, self.top_p, self.draws = 1.0, 1.0, 0
        self.prompt, self.logits = "", None
        self.samples: list[dict] = []
        self.said = "Move a slider, or press Write."
        self.set(prompt=prompt)

    @classmethod
    def of(cls, model: Any, prompt: str, **options: Any) -> DecodingPlayground:
        """A playground for a model that runs on this machine (`agentlab.local.TorchLanguage`)."""

        def logits_of(text: str) -> torch.Tensor:
            import torch

            with torch.inference_mode():
                return model.runner.forward(torch.tensor([model.tokens(text)]), model.runner.new_cache())[0, -1]

        def write(text: str, **decoding: Any) -> str:
            return model.complete(text, **decoding).text

        return cls(logits_of, write, lambda token: model.tokenizer.decode([token]), prompt, **options)

    # --- what can be done ---

    def set(
        self, temperature: float | None = None, top_p: float | None = None, prompt: str | None = None
    ) -> list[dict]:
        """Choose other settings or another prompt; gives the likeliest tokens with what is left of them, as rows."""
        from agentlab.decoding import Decoding

        heat = self.temperature if temperature is None else temperature
        share = self.top_p if top_p is None else top_p
        Decoding(temperature=heat, top_p=share)  # says what is wrong with them
        if prompt is not None and prompt.strip() != self.prompt:
            text = prompt.strip()
            if not text or len(text) > LONGEST_INPUT:
                raise AgentLabError(f"Type a prompt of 1 to {LONGEST_INPUT} characters; this has {len(text)}.")
            self.logits, self.prompt = self.logits_of(text).float(), text
        self.temperature, self.top_p = heat, share
        if self._widget is not None:
            self._draw()
        self.announce(self.sentence())
        return self.rows()

    def probabilities(self) -> torch.Tensor:
        """The distribution (V,) from which the next token is drawn."""
        from agentlab.decoding import Decoding, next_probabilities

        return next_probabilities(self.logits, Decoding(temperature=self.temperature, top_p=self.top_p))

    def rows(self) -> list[dict]:
        """The likeliest tokens: the model's own probability, and the one with which each is drawn."""
        own, drawn = self.logits.softmax(0), self.probabilities()
        top = own.topk(min(SHOWN_TOKENS, len(own)))
        return [
            {"token": repr(self.name_of(int(i))), "the model's": float(p), "drawn with": float(drawn[i])}
            for p, i in zip(top.values, top.indices, strict=True)
        ]

    def sentence(self) -> str:
        """How many tokens are left, and how likely one is that the model itself finds unlikely."""
        drawn = self.probabilities()
        beyond = float(drawn[self.logits.argsort(descending=True)[50:]].sum())
        return (
            f"At temperature {self.temperature:g} and top-p {self.top_p:g}, {int((drawn > 0).sum()):,} of {len(drawn):,} tokens "
            f"can be drawn; with {beyond:.1%} it is one beyond the 50 likeliest."
        )

    def write(self) -> str:
        """Write on from the prompt with these settings; each time other tokens are drawn."""
        text = self.write_text(
            self.prompt, max_tokens=self.max_tokens, temperature=self.temperature, top_p=self.top_p, seed=self.draws
        )
        self.draws += 1
        self.samples.append(
            {"temperature": self.temperature, "top-p": self.top_p, "written": f"{self.prompt} {text.strip()}"}
        )
        if self._widget is not None:
            self._draw()
        self.announce(f"Written: {text.strip()}")
        return text

    def leave(self) -> None:
        """Write at a few settings, and show the distributions and texts as tables."""
        kept = []
        for heat, share in ((0.0, 1.0), (0.7, 1.0), (1.0, 0.9), (1.0, 1.0), (2.0, 1.0)):
            rows = self.set(heat, share)
            left = int((self.probabilities() > 0).sum())
            kept.append({"temperature": heat, "top-p": share, "tokens left": left, f"chance of {rows[0]['token']}": rows[0]["drawn with"], "written": self.write().strip()})  # fmt: skip
        show_table(kept, f"{self.caption}: after {self.prompt!r}")

    # --- the widget ---

    def build(self) -> Sequence:
        import ipywidgets as widgets

        wide = {"style": {"description_width": "8em"}, "layout": widgets.Layout(width="95%")}
        self._prompt = widgets.Text(value=self.prompt, description="Prompt", continuous_update=False, **wide)
        self._heat = widgets.FloatSlider(value=self.temperature, min=0, max=2, step=0.1, description="temperature", continuous_update=False, **wide)  # fmt: skip
        self._share = widgets.FloatSlider(value=self.top_p, min=0.05, max=1, step=0.05, description="top-p", continuous_update=False, **wide)  # fmt: skip
        self._page, self._texts = widgets.HTML(), widgets.HTML()
        for control in (self._prompt, self._heat, self._share):
            control.observe(self._moved, names="value")
        self._draw()
        again = button("Write", self._clicked, "al-main", tooltip="Write on from the prompt with these settings")
        return [self._prompt, self._heat, self._share, self._page, row(again), self._texts]

    @guarded
    def _moved(self, _change: dict) -> None:
        self.set(self._heat.value, self._share.value, self._prompt.value)

    @guarded
    def _clicked(self) -> None:
        self.announce("Writing ...")
        self.write()

    def _draw(self) -> None:
        bars = "".join(
            f'<tr><th scope="row"><code>{html.escape(token)}</code></th><td>{own:.3f}</td><td>{drawn:.3f}</td>'
            f'<td aria-hidden="true" style="width:40%"><div style="height:.8em;width:{100 * drawn:.1f}%;background:var(--al-blue)"></div></td></tr>'
            for token, own, drawn in (r.values() for r in self.rows())
        )
        self._page.value = (
            "<table style='width:100%'><caption>The likeliest next tokens</caption><thead><tr><th scope='col'>token</th><th scope='col'>the model's</th>"
            f"<th scope='col'>drawn with</th><th scope='col' aria-hidden='true'></th></tr></thead><tbody>{bars}</tbody></table>"
        )
        self._texts.value = (
            "<ul>"
            + "".join(
                f"<li>temperature {s['temperature']:g}, top-p {s['top-p']:g}: <em>{html.escape(s['written'])}</em></li>"
                for s in self.samples[:-6:-1]
            )
            + "</ul>"
            if self.samples
            else ""
        )
