// Cleans foreign text for the page, and puts sizes and times into words.

// Characters that control, hide or reorder text: controls, formats such as U+202E, surrogates, unassigned, line ends.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

/** Returns the text as one line without characters that control or reorder text, and not longer than the limit. */
export function printable(text, limit = 60) {
  const line = text.slice(0, 4 * limit).replace(/\s/gu, " ").replace(UNSAFE, "").trim();
  const characters = [...line];
  return characters.length > limit ? `${characters.slice(0, limit - 1).join("")}…` : line;
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

export function size(bytes) {
  if (bytes < 1000) return plural(bytes, "byte");
  const units = ["bytes", "KB", "MB", "GB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit += 1) bytes /= 1000;
  return `${bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}
