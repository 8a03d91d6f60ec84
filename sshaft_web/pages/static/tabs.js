// The row of tabs: the hosts, and one for each terminal (WAI-ARIA Authoring Practices, tabs with manual activation).

export class Tabs {
  #row;
  #tabs = [];

  /** `onChoose` is called with the key of the tab that is now shown. */
  constructor(row, onChoose) {
    this.#row = row;
    this.onChoose = onChoose;
    row.addEventListener("keydown", (event) => this.#move(event));
    row.addEventListener("click", ({ target }) => {
      const tab = this.#tabs.find(({ button }) => button.contains(target));
      if (tab) this.choose(tab.key);
    });
  }

  get chosen() {
    return this.#tabs.find(({ button }) => button.getAttribute("aria-selected") === "true")?.key;
  }

  /** Adds a tab for the panel. The key is any value. */
  add(key, text, panel) {
    const button = document.createElement("button");
    const number = crypto.getRandomValues(new Uint32Array(1))[0];
    button.type = "button";
    button.role = "tab";
    button.id = panel.getAttribute("aria-labelledby") ?? `tab-${number}`;
    panel.id ||= `panel-${number}`;
    panel.setAttribute("aria-labelledby", button.id);
    button.setAttribute("aria-controls", panel.id);
    this.#row.append(button);
    this.#tabs.push({ key, button, panel });
    this.rename(key, text);
  }

  rename(key, text) {
    const { button } = this.#find(key);
    button.textContent = text;
    button.title = text;
  }

  mark(key, marked) {
    this.#find(key).button.classList.toggle("marked", marked);
  }

  /** Removes a tab, and chooses the one before it if it was shown. */
  remove(key) {
    const tab = this.#find(key);
    const place = this.#tabs.indexOf(tab);
    const wasChosen = this.chosen === key;
    this.#tabs.splice(place, 1);
    tab.button.remove();
    if (wasChosen) this.choose(this.#tabs[Math.max(0, place - 1)].key);
  }

  choose(key) {
    for (const { key: each, button, panel } of this.#tabs) {
      button.setAttribute("aria-selected", String(each === key));
      button.tabIndex = each === key ? 0 : -1;
      panel.hidden = each !== key;
    }
    this.#find(key).button.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.mark(key, false);
    this.onChoose(key);
  }

  focus() {
    this.#find(this.chosen).button.focus();
  }

  #find(key) {
    return this.#tabs.find((tab) => tab.key === key);
  }

  #move(event) {
    const place = this.#tabs.findIndex(({ button }) => button === document.activeElement);
    const last = this.#tabs.length - 1;
    const wanted = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last };
    if (place < 0 || !(event.key in wanted)) return;
    event.preventDefault();
    this.#tabs[wanted[event.key]].button.focus();
  }
}
