// Lets a finger scroll the terminal: xterm knows only the wheel of a mouse.

/** Turns the moves of one finger into scrolled lines. A program on the whole screen gets them as those of a wheel. */
export function bindTouch(terminal, element) {
  let last = null;
  element.addEventListener("touchstart", ({ touches }) => {
    last = touches.length === 1 ? touches[0].clientY : null;
  }, { passive: true });
  element.addEventListener("touchmove", ({ target, touches: [{ clientX, clientY }] }) => {
    if (last === null) return;
    const height = element.clientHeight / terminal.rows;
    const lines = Math.trunc((last - clientY) / height);
    last -= lines * height;
    if (terminal.buffer.active.type === "normal" && terminal.modes.mouseTrackingMode === "none") terminal.scrollLines(lines);
    else if (lines) target.dispatchEvent(wheel(clientX, clientY, lines));
  }, { passive: true });
}

function wheel(clientX, clientY, deltaY) {
  return new WheelEvent("wheel", { bubbles: true, cancelable: true, clientX, clientY, deltaY, deltaMode: WheelEvent.DOM_DELTA_LINE });
}
