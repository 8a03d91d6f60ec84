// Asks the server about files. Paths are percent-encoded already.

import { ask } from "../api.js";
import { join } from "./paths.js";

const LONGEST_CHUNK = 40_000; // milliseconds; the server waits 30 seconds for it

const PART = ".sshaft-part"; // an upload that is not complete

/** Returns a folder, without the uploads that are not complete. */
export async function listed(id, path) {
  const folder = await ask("GET", `/api/terminals/${id}/files?path=${path}`);
  return { ...folder, entries: folder.entries.filter(({ name }) => !name.endsWith(PART)) };
}

export const downloadAddress = (id, path) => `/terminals/${id}/file?path=${path}`;

/** Throws if the file cannot be downloaded. */
export const look = (id, path) => ask("GET", `/api/terminals/${id}/file?path=${path}`);

/** Sends a part of a file, and returns how much of the file the server has. */
export async function sendChunk(id, upload, offset, chunk, stop) {
  const address = `${uploadAddress(id, upload)}&offset=${offset}&replace=${Number(upload.replaces)}`;
  return (await ask("PUT", address, chunk, AbortSignal.any([stop, AbortSignal.timeout(LONGEST_CHUNK)]))).size;
}

export const removeUpload = (id, upload) => ask("DELETE", uploadAddress(id, upload));

function uploadAddress(id, { folder, name, number, file }) {
  return `/terminals/${id}/file?path=${join(folder, name)}&total=${file.size}&upload=${number}`;
}
