// Writes paths for the server. A path is percent-encoded, because names on a host need not be UTF-8.

/** Returns the path of a name in a folder. Both are percent-encoded. */
export function join(folder, name) {
  return `${folder.replace(/\/+$/, "")}/${name}`;
}

/** Returns the folder that holds this one. */
export function parent(folder) {
  return folder.replace(/\/+$/, "").replace(/[^/]*$/, "").replace(/(?<=.)\/$/, "") || "/";
}

/** Returns what a person has typed, or the name of a file, as a path. Throws if it cannot be written in UTF-8. */
export function encoded(text) {
  return text.split("/").map(encodeURIComponent).join("/");
}
