// Copies and pastes. Programs may write to the clipboard when the person allows it, and can never read it.

import { ClipboardAddon } from "./vendor/addon-clipboard.mjs";
import { ask } from "./dialogs.js";
import { settings } from "./settings.js";
import { plural, printable } from "./texts.js";

const SHOWN = 100; // characters
const SHOWN_LINES = 12;
const LONGEST_COPY = 1_000_000;
// A pasted ESC could end a bracketed paste (ESC [ 201 ~), and other controls would act as keys.
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g; // not tab, line feed and carriage return

/** Copies text, and returns whether that worked. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Pastes text. Several lines need a yes if the program would take each line as a command. */
export async function paste(terminal, text) {
  const clean = text.replace(CONTROLS, "");
  const lines = clean.split(/\r\n|\r|\n/);
  if (lines.length > 1 && !terminal.modes.bracketedPasteMode && !(await mayPaste(lines))) return;
  terminal.paste(clean);
  terminal.focus();
}

export function bindPaste(screen, isOpen) {
  screen.element.addEventListener("paste", (event) => {
    event.preventDefault();
    event.stopPropagation(); // xterm would paste controls too
    if (isOpen()) paste(screen.terminal, event.clipboardData?.getData("text/plain") ?? "");
  }, { capture: true });
}

/** Lets programs write to the clipboard by OSC 52, as the settings say. `notices` shows the question. */
export function bindOsc52(screen, notices, host) {
  const writeText = (selection, text) => {
    if (selection && selection !== "c") return;
    if (text && text.length <= LONGEST_COPY && !screen.isPast) offer(text, notices, host);
  };
  screen.terminal.loadAddon(new ClipboardAddon(undefined, { readText: () => "", writeText }));
  // Handlers run from the newest to the oldest: a question for the clipboard gets no answer at all.
  screen.terminal.parser.registerOscHandler(52, (data) => data.split(";")[1] === "?");
}

async function offer(text, notices, host) {
  if (settings.clipboard === "never") return;
  if (settings.clipboard === "always" && (await copy(text))) return;
  const length = text.length > SHOWN ? ` (${plural(text.length, "character")})` : "";
  const sentence = `A program on ${host} wants to copy this to your clipboard: “${printable(text, SHOWN)}”${length}`;
  notices.show("clipboard", sentence, [["Copy", () => copy(text)], ["No", () => {}]]);
}

function mayPaste(lines) {
  const more = lines.length - SHOWN_LINES;
  const shown = lines.slice(0, SHOWN_LINES).map((line) => printable(line, 200));
  return ask({
    title: `Paste ${plural(lines.length, "line")}?`,
    sentence: "The program in the terminal may run each line as a command.",
    detail: [...shown, ...(more > 0 ? [`… and ${plural(more, "more line", "more lines")}`] : [])].join("\n"),
    action: "Paste",
  });
}
