// The place for the files of one terminal. files.js fills it when it is first opened.

export class FilePanel {
  #element;
  #button;

  constructor(element, button) {
    this.#element = element;
    this.#button = button;
  }

  async toggle(id) {
    this.#element.hidden = !this.#element.hidden;
    this.#button.setAttribute("aria-expanded", String(!this.#element.hidden));
    if (this.#element.hidden || this.#element.childElementCount) return;
    const { mount } = await import("./files.js");
    mount(id, this.#element);
  }
}
