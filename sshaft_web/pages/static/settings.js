// Keeps the settings of this browser, and tells listeners about changes.

const KEY = "sshaft-web-settings";
const isTouched = matchMedia("(pointer: coarse)").matches;
const FITS = {
  theme: (value) => ["system", "light", "dark", "contrast"].includes(value),
  fontSize: (value) => Number.isInteger(value) && value >= 8 && value <= 40,
  clipboard: (value) => ["ask", "always", "never"].includes(value),
  screenReader: (value) => typeof value === "boolean",
  keyRow: (value) => typeof value === "boolean",
};

export const settings = {
  theme: "system",
  fontSize: isTouched ? 13 : 15,
  clipboard: "ask",
  screenReader: false,
  keyRow: isTouched,
  ...stored(),
};
const changes = new EventTarget();

export function change(name, value) {
  if (!FITS[name](value)) return;
  settings[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...stored(), [name]: value }));
  } catch { /* the storage is closed: the setting holds until the page is left */ }
  changes.dispatchEvent(new Event("change"));
}

export function onChange(listener, signal) {
  changes.addEventListener("change", listener, { signal });
}

function stored() {
  try {
    const found = Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
    return Object.fromEntries(found.filter(([name, value]) => Object.hasOwn(FITS, name) && FITS[name](value)));
  } catch {
    return {};
  }
}
