// The terminal of one panel: xterm with its add-ons, its colours, its size and its keys.

import { FitAddon } from "./vendor/addon-fit.mjs";
import { SerializeAddon } from "./vendor/addon-serialize.mjs";
import { Terminal } from "./vendor/xterm.mjs";
import { ignoreAbsurdCounts } from "./counts.js";
import { bindLinks, linkHandler } from "./links.js";
import { onChange, settings } from "./settings.js";
import { onSystemTheme, terminalColours } from "./themes.js";
import { LONGEST_TAIL, incompleteTail } from "./tails.js";
import { bindTouch } from "./touch.js";

const FONTS = 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';
const SCROLLBACK = 5000;
const SAVED_LINES = 1000;
const SLICE = 4096; // xterm lets the page work between two writes, never within one

/** The property `written` is the offset of the first byte that the terminal has not taken yet. */
export class Screen {
  #fit = new FitAddon();
  #serialize = new SerializeAddon();
  #ended = new AbortController();
  #tail = new Uint8Array();
  #waiting = 0; // writes that must not answer

  constructor(element) {
    this.element = element;
    this.written = 0;
    this.terminal = new Terminal({
      ...looks(),
      allowProposedApi: true, // the search marks its matches
      cursorBlink: false,
      fontFamily: FONTS,
      linkHandler,
      logLevel: "off",
      macOptionIsMeta: true,
      scrollback: SCROLLBACK,
    });
    this.terminal.loadAddon(this.#fit);
    this.terminal.loadAddon(this.#serialize);
    bindLinks(this.terminal);
    bindTouch(this.terminal, element);
    ignoreAbsurdCounts(this.terminal);
    this.terminal.open(element);
    const { signal } = this.#ended;
    onChange(() => this.#restyle(), signal);
    onSystemTheme(() => this.#restyle(), signal);
    const watcher = new ResizeObserver(() => this.fit());
    watcher.observe(element);
    signal.addEventListener("abort", () => watcher.disconnect());
  }

  /** Whether the output that is written now is old, so that nothing in it may act. */
  get isPast() {
    return this.#waiting > 0;
  }

  fit() {
    if (this.element.clientWidth > 0 && this.element.clientHeight > 0) this.#fit.fit();
  }

  focus() {
    this.terminal.focus();
  }

  /** Writes output, and calls `done` when it was taken. Old output gets no answers to its questions. */
  write(bytes, past, done) {
    this.#muted(past, bytes, () => {
      this.written += bytes.length;
      this.#tail = joined(this.#tail, bytes).slice(-LONGEST_TAIL);
      done();
    });
  }

  /** Returns what a later page needs to go on here: the text, the size, and the offset of the next byte. */
  save() {
    const { cols, rows } = this.terminal;
    const text = this.#serialize.serialize({ scrollback: SAVED_LINES });
    return { text, columns: cols, rows, offset: this.written - incompleteTail(this.#tail) };
  }

  restore({ text, columns, rows, offset }) {
    this.terminal.resize(columns, rows);
    this.#muted(true, text, () => this.fit());
    this.written = offset;
  }

  /** Output before the offset is lost. */
  skipTo(offset) {
    this.written = offset;
    this.#tail = new Uint8Array();
  }

  /** Returns the text of the lines that are visible now. */
  visibleText() {
    const { active } = this.terminal.buffer;
    const lines = Array.from({ length: this.terminal.rows }, (_, row) => active.getLine(active.viewportY + row));
    return lines.map((line) => line?.translateToString(true) ?? "").join("\n").trimEnd();
  }

  close() {
    this.#ended.abort();
    this.terminal.dispose();
  }

  #muted(muted, data, done) {
    if (muted) this.#mute(1);
    let start = 0;
    for (; start + SLICE < data.length; start += SLICE) this.terminal.write(data.slice(start, start + SLICE));
    this.terminal.write(data.slice(start), () => {
      if (muted) this.#mute(-1);
      done();
    });
  }

  // While the input is disabled, xterm also sends no reports such as the place of the cursor.
  #mute(change) {
    this.#waiting += change;
    this.terminal.options.disableStdin = this.#waiting > 0;
  }

  #restyle() {
    Object.assign(this.terminal.options, looks());
    this.fit();
  }
}

function looks() {
  return { ...terminalColours(), fontSize: settings.fontSize, screenReaderMode: settings.screenReader };
}

function joined(one, other) {
  if (other.length >= LONGEST_TAIL) return other;
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
