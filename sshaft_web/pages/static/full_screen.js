// Shows the page on the whole screen, and back.

/** Binds a button. `refused` is called in browsers that show no page on the whole screen. */
export function bindFullScreen(button, refused, signal) {
  button.addEventListener("click", async () => {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await document.documentElement.requestFullscreen();
    } catch {
      refused();
    }
  });
  document.addEventListener("fullscreenchange", () => {
    button.setAttribute("aria-pressed", String(Boolean(document.fullscreenElement)));
  }, { signal });
}
