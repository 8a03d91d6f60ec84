// Ignores absurd counts in control sequences. xterm counts up to them one by one, so one sequence could stop the page.

// The sequences that repeat something: tabs, lines that are inserted, deleted or scrolled, and the last character.
const REPEATING = "ILMSTZb";

export function ignoreAbsurdCounts(terminal) {
  for (const final of REPEATING) {
    terminal.parser.registerCsiHandler({ final }, ([count]) => count > Math.max(terminal.cols, terminal.rows));
  }
}
