// The search bar of one terminal. Its add-on is loaded when it is first opened.

const COLOURS = {
  matchBackground: "#e5c27a", activeMatchBackground: "#f08c3a",
  matchOverviewRuler: "#b58a2e", activeMatchColorOverviewRuler: "#d0661a",
};
const MOST = 1000; // matches that are counted

export class SearchBar {
  #bar;
  #field;
  #addon = null;
  #screen;

  constructor(bar, screen) {
    this.#bar = bar;
    this.#screen = screen;
    this.#field = bar.querySelector("input");
    this.#field.addEventListener("input", () => {
      screen.terminal.clearSelection(); // the search then begins at the newest line
      this.#find("findPrevious");
    });
    bar.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find("findPrevious");
    });
    bar.querySelector("[data-search=later]").addEventListener("click", () => this.#find("findNext"));
    bar.querySelector("[data-search=end]").addEventListener("click", () => this.close());
    bar.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && event.shiftKey && event.target === this.#field) {
        event.preventDefault();
        this.#find("findNext");
      }
    });
  }

  async open() {
    this.#bar.hidden = false;
    this.#field.select();
    if (this.#addon) return;
    const { SearchAddon } = await import("./vendor/addon-search.mjs");
    this.#addon = new SearchAddon({ highlightLimit: MOST });
    this.#screen.terminal.loadAddon(this.#addon);
    this.#addon.onDidChangeResults((found) => this.#count(found));
  }

  close() {
    this.#bar.hidden = true;
    this.#addon?.clearDecorations();
    this.#screen.focus();
  }

  #find(direction) {
    if (this.#field.value) {
      this.#addon?.[direction](this.#field.value, { decorations: COLOURS });
    } else {
      this.#addon?.clearDecorations();
      this.#say("");
    }
  }

  #count({ resultIndex, resultCount }) {
    if (!this.#field.value) this.#say("");
    else if (resultCount === 0) this.#say("no match");
    else if (resultIndex < 0) this.#say(`over ${MOST} matches`);
    else this.#say(`${resultIndex + 1} of ${resultCount}`);
  }

  #say(text) {
    this.#bar.querySelector(".count").textContent = text;
  }
}
