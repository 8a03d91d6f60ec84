// The row of keys below the terminal, for keyboards on a screen that lack them.

const SEQUENCES = { Escape: "\x1b", Tab: "\t" };
const ARROWS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D" };

/** `held` has the modifiers that count for the next key. */
export class KeyRow {
  #element;
  #terminal;

  /** `actions` has functions for the buttons that are no keys. */
  constructor(element, terminal, actions) {
    this.#element = element;
    this.#terminal = terminal;
    element.addEventListener("pointerdown", (event) => event.preventDefault()); // the keyboard on the screen stays
    element.addEventListener("click", ({ target }) => {
      const { key, modifier, do: action } = target.closest("button")?.dataset ?? {};
      if (key) this.#press(key);
      else if (modifier) this.#hold(modifier, !this.#holds(modifier));
      else if (action) actions[action]();
    });
  }

  /** Returns typed text with the modifiers that are held, and lets them go. */
  modified(text) {
    if (text.length !== 1 || !(this.#holds("ctrl") || this.#holds("alt"))) return text;
    const plain = this.#holds("ctrl") ? control(text) : text;
    const result = this.#holds("alt") ? `\x1b${plain}` : plain;
    this.#hold("ctrl", false);
    this.#hold("alt", false);
    return result;
  }

  #press(key) {
    this.#terminal.input(ARROWS[key] ? this.#arrow(key) : (SEQUENCES[key] ?? key));
  }

  // xterm's control sequences: with a modifier, CSI 1 ; 1 + (alt 2) + (ctrl 4) and the letter.
  #arrow(key) {
    const modifier = (this.#holds("alt") ? 2 : 0) + (this.#holds("ctrl") ? 4 : 0);
    this.#hold("ctrl", false);
    this.#hold("alt", false);
    if (modifier) return `\x1b[1;${1 + modifier}${ARROWS[key]}`;
    return `\x1b${this.#terminal.modes.applicationCursorKeysMode ? "O" : "["}${ARROWS[key]}`;
  }

  #button(modifier) {
    return this.#element.querySelector(`[data-modifier=${modifier}]`);
  }

  #holds(modifier) {
    return this.#button(modifier).getAttribute("aria-pressed") === "true";
  }

  #hold(modifier, held) {
    this.#button(modifier).setAttribute("aria-pressed", String(held));
  }
}

function control(character) {
  const code = character.toUpperCase().charCodeAt(0);
  if (character === " ") return "\x00";
  if (character === "?") return "\x7f";
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code - 0x40) : character;
}
