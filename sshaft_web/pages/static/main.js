// Starts the page: hosts, tabs, and the terminals that this tab of the browser showed before a reload.

import { announce } from "./announce.js";
import { closeTerminal, openTerminal, openTerminals } from "./api.js";
import { ask } from "./dialogs.js";
import { bindHosts, showStillOpen, showTrouble } from "./hosts.js";
import { save, takeSaved } from "./saved_terminals.js";
import { onChange } from "./settings.js";
import { bindSettings } from "./settings_dialog.js";
import { allowStyles } from "./strict_styles.js";
import { Tabs } from "./tabs.js";
import { plural } from "./texts.js";
import { showTheme } from "./themes.js";
import { keepAboveKeyboard } from "./viewport.js";

const HOSTS = "hosts";
const TITLE = document.title;
const panels = new Set();
const tabs = new Tabs(document.getElementById("tabs"), chosen);

allowStyles(document.getElementById("terminal-style").nonce);
tabs.add(HOSTS, "Hosts", document.getElementById("hosts"));
bindSettings();
bindHosts(open);
bindSignOut();
onChange(showTheme);
keepAboveKeyboard();
addEventListener("online", () => panels.forEach((panel) => panel.hurry()));
addEventListener("pagehide", () => save([...panels].filter(({ id, isOver }) => id && !isOver).map(saved)));
document.addEventListener("visibilitychange", () => document.hidden || panels.forEach((panel) => panel.hurry()));
tabs.choose(HOSTS);
restore(takeSaved()).then(() => import("./panel.js")); // the terminal is then there when the person asks for it

/** Opens a terminal on the host. `user` is the account name, for hosts that cannot tell it. */
async function open(host, user) {
  showTrouble("");
  const panel = await shown(host);
  const { cols: columns, rows } = panel.screen.terminal;
  try {
    const { id } = await openTerminal({ target: host.name, columns, rows, ...(user && { user }) });
    if (panels.has(panel)) panel.connect(id);
    else await closeTerminal(id);
  } catch (error) {
    remove(panel);
    refused(error);
  }
}

/** Shows again what this tab showed, and lists the other terminals. */
async function restore(earlier) {
  let wanted = HOSTS;
  try {
    const terminals = await openTerminals();
    for (const each of earlier.filter(({ id }) => terminals.some((terminal) => terminal.id === id))) {
      const panel = await shown(each.host);
      panel.connect(each.id, each.screen);
      if (each.isShown) wanted = panel;
    }
    tabs.choose(wanted);
    list(terminals);
  } catch (error) {
    refused(error);
  }
}

async function resume({ id, target: name, title }) {
  const panel = await shown({ name, title });
  panel.connect(id);
}

async function shown(host) {
  const { Panel } = await import("./panel.js");
  const panel = new Panel(host);
  panel.label = labelOf(host);
  document.getElementById("content").append(panel.element);
  panels.add(panel);
  tabs.add(panel, panel.label, panel.element);
  panel.addEventListener("title", ({ detail }) => name(panel, detail.title));
  panel.addEventListener("bell", () => ring(panel));
  panel.addEventListener("leave", () => tabs.focus());
  panel.addEventListener("close", () => close(panel));
  panel.addEventListener("again", () => {
    remove(panel);
    open(host);
  });
  panel.addEventListener("sign in", () => location.assign("/sign-in"));
  tabs.choose(panel);
  panel.begin();
  panel.screen.focus();
  return panel;
}

async function close(panel) {
  if (panel.id && !panel.isOver) {
    const sentence = "The programs that run in it end.";
    if (!(await ask({ title: "Close the terminal?", sentence, action: "Close it" }))) return;
    try {
      await closeTerminal(panel.id);
    } catch (error) {
      if (error.status !== 404) return void panel.notices.show("refused", error.message);
    }
  }
  remove(panel);
  announce("The terminal is closed.");
}

function remove(panel) {
  if (!panels.delete(panel)) return;
  tabs.remove(panel);
  panel.end();
  if (tabs.chosen === HOSTS) tabs.focus();
}

/** Returns the title of the host, with a number if other terminals on this host are shown. */
function labelOf({ title }) {
  const taken = new Set([...panels].map(({ label }) => label));
  let number = 1;
  const label = () => (number === 1 ? title : `${title} ${number}`);
  while (taken.has(label())) number += 1;
  return label();
}

function name(panel, title) {
  panel.title = title;
  tabs.rename(panel, title ? `${panel.label}: ${title}` : panel.label);
  if (tabs.chosen === panel) showName(panel);
}

function ring(panel) {
  if (tabs.chosen !== panel) tabs.mark(panel, true);
  panel.element.classList.remove("rings");
  requestAnimationFrame(() => panel.element.classList.add("rings"));
}

function chosen(panel) {
  showName(panel);
  document.body.classList.toggle("works", panel !== HOSTS);
  if (panel !== HOSTS) panel.screen?.focus();
  else openTerminals().then(list, () => {});
}

function showName(panel) {
  const words = panel === HOSTS ? [] : [panel.label, ...(panel.title ? [panel.title] : [])];
  document.title = words.length ? `${words.join(": ")} - ${TITLE}` : TITLE;
}

function list(terminals) {
  const known = new Set([...panels].map(({ id }) => id));
  showStillOpen(terminals.filter(({ id }) => !known.has(id)), resume);
}

function saved(panel) {
  const { id, host, screen } = panel;
  return { id, host, isShown: tabs.chosen === panel, screen: screen.save() };
}

function refused(error) {
  if (error.status === 401) location.reload();
  else showTrouble(error.message);
}

function bindSignOut() {
  const form = document.getElementById("sign-out");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const running = [...panels].filter(({ isOver }) => !isOver).length;
    const sentence = `${plural(running, "terminal")} will be closed, and the programs in them end.`;
    if (running && !(await ask({ title: "Sign out?", sentence, action: "Sign out" }))) return;
    [...panels].forEach(remove);
    form.submit();
  });
}
