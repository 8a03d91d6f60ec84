// Shows what the person should know about a terminal, in lines above it.

const PAUSE = 1000; // milliseconds in which a person sees that a notice has changed

/** Each kind of notice is shown once. A newer one of the same kind replaces it. */
export class Notices {
  #element;
  #shown = new Map();

  constructor(element) {
    this.#element = element;
  }

  /**
   * `choices` are pairs of a word and an action. The notice goes when one is chosen. For a moment none can be chosen in
   * a notice that has changed: else a program could change what the person is about to allow.
   */
  show(kind, sentence, choices = [["Close", () => {}]]) {
    const shown = this.#shown.get(kind);
    const notice = shown ?? this.#made(kind);
    const buttons = choices.map(([word, action]) => this.#button(kind, word, action));
    notice.querySelector("p").textContent = sentence;
    notice.querySelector(".choices").replaceChildren(...buttons);
    if (shown) enableLater(buttons);
  }

  hide(kind) {
    this.#shown.get(kind)?.remove();
    this.#shown.delete(kind);
  }

  #made(kind) {
    const notice = document.getElementById("notice").content.firstElementChild.cloneNode(true);
    this.#shown.set(kind, notice);
    this.#element.append(notice);
    return notice;
  }

  #button(kind, word, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word;
    button.addEventListener("click", () => {
      this.hide(kind);
      action();
    });
    return button;
  }
}

function enableLater(buttons) {
  for (const button of buttons) button.disabled = true;
  setTimeout(() => buttons.forEach((button) => { button.disabled = false; }), PAUSE);
}
