// Keeps in this tab of the browser what its terminals show, so that a reload of the page goes on with them.

const KEY = "sshaft-web-terminals";

/** Keeps the terminals: a list of {id, host, isShown, screen}. */
export function save(terminals) {
  const withoutScreens = terminals.map(({ screen, ...others }) => others);
  keep(terminals) || keep(withoutScreens);
}

/** Returns what was kept, and forgets it. */
export function takeSaved() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    sessionStorage.removeItem(KEY);
    return found;
  } catch {
    return [];
  }
}

function keep(terminals) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(terminals));
    return true;
  } catch {
    return false; // the storage is closed, or the screens are too large for it
  }
}
