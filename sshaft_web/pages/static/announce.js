// Tells screen readers what has changed.

/** Has the text read out when the screen reader has time. The same text again is read again. */
export function announce(text) {
  const region = document.getElementById("announcements");
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}
