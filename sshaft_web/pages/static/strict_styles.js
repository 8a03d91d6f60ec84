// Lets xterm set its styles under a policy without 'unsafe-inline'.

/**
 * Gives the nonce to style elements that a script makes. A style attribute that a script writes is set through the
 * object model instead, which the policy allows: xterm writes such attributes for cells with 24-bit colours.
 */
export function allowStyles(nonce) {
  const { createElement } = Document.prototype;
  document.createElement = (name, options) => {
    const element = createElement.call(document, name, options);
    if (name === "style") element.nonce = nonce;
    return element;
  };
  HTMLSpanElement.prototype.setAttribute = function setAttribute(name, value) {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };
}
