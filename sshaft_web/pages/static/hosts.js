// The first tab: the hosts that a terminal can be opened on, and the terminals that are open elsewhere.

import { plural } from "./texts.js";

const SECONDS = 1000;

/** Calls `open` with {host, user} when the person chooses a host. */
export function bindHosts(open) {
  for (const form of document.querySelectorAll("#targets form")) {
    form.querySelector("button").disabled = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { host: name, title } = form.dataset;
      open({ name, title }, form.elements.user?.value.trim());
    });
  }
}

/** Shows a sentence above the hosts, or with an empty text none. */
export function showTrouble(sentence) {
  const trouble = document.getElementById("trouble");
  trouble.textContent = sentence;
  trouble.hidden = !sentence;
}

/** Lists terminals that this page does not show. Calls `resume` with the one that the person chooses. */
export function showStillOpen(terminals, resume) {
  const section = document.getElementById("still-open");
  section.hidden = !terminals.length;
  section.querySelector("ul").replaceChildren(...terminals.map((terminal) => entry(terminal, resume)));
}

function entry(terminal, resume) {
  const item = element("li", "entry");
  const facts = element("p", "facts-line", `${terminal.account ? `as ${terminal.account}, ` : ""}opened ${ago(terminal.since)}${
    terminal.connected ? ", shown in another tab or window" : ""}`);
  const button = element("button", "", "Continue");
  button.type = "button";
  button.append(element("span", "unseen", ` on ${terminal.title}`));
  button.addEventListener("click", () => resume(terminal));
  item.append(element("h3", "", terminal.title), facts, button);
  return item;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function ago(since) {
  const minutes = Math.max(0, Math.round((Date.now() - new Date(since)) / (60 * SECONDS)));
  if (minutes < 1) return "just now";
  return minutes < 120 ? `${plural(minutes, "minute")} ago` : `${plural(Math.round(minutes / 60), "hour")} ago`;
}
