// Keeps the page above the keyboard of a phone. Some browsers lay the keyboard over the page.

export function keepAboveKeyboard() {
  const { visualViewport } = window;
  visualViewport?.addEventListener("resize", () => {
    if (visualViewport.scale > 1) return; // the person looks at a part of the page
    document.body.style.height = visualViewport.height < innerHeight ? `${visualViewport.height}px` : "";
    scrollTo(0, 0);
  });
}
