// Shows the title that a program sets, and its bell.

import { printable } from "./texts.js";

const PAUSE = 250; // milliseconds: a program may send thousands of titles

/** Calls `show` with each title, as one short line. The newest title of a flood wins. */
export function bindTitle(terminal, show) {
  let newest = "";
  let timer = 0;
  terminal.onTitleChange((title) => {
    newest = title;
    timer ||= setTimeout(() => {
      timer = 0;
      show(printable(newest));
    }, PAUSE);
  });
}

/** Calls `ring` for the bell, at most once in a while. */
export function bindBell(screen, ring) {
  let last = -Infinity;
  screen.terminal.onBell(() => {
    if (screen.isPast || performance.now() - last < 4 * PAUSE) return;
    last = performance.now();
    ring();
  });
}
