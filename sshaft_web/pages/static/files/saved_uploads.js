// Remembers unfinished uploads in this tab of the browser, so that a reload of the page can go on with them.

const KEY = "sshaft-web-uploads";
const MOST = 50;

/** Returns {number, offset} of an earlier upload of the same file to the same place, or nothing. */
export function earlier(upload) {
  return all().find(({ key }) => key === keyOf(upload));
}

export function remember(upload) {
  const others = all().filter(({ key }) => key !== keyOf(upload));
  store([...others.slice(1 - MOST), { key: keyOf(upload), number: upload.number, offset: upload.offset }]);
}

export function forget(upload) {
  store(all().filter(({ key }) => key !== keyOf(upload)));
}

function keyOf({ folder, name, file }) {
  return [folder, name, file.size, file.lastModified].join(" ");
}

function all() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

function store(uploads) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(uploads));
  } catch { /* the storage is closed: after a reload the upload starts again */ }
}
