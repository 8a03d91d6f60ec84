// Sends one file in chunks. Goes on by itself after a lost network.

import { ApiError } from "../api.js";
import { pauseBefore } from "../pauses.js";
import { ChunkSize } from "./chunks.js";
import { removeUpload, sendChunk } from "./requests.js";
import { earlier, forget, remember } from "./saved_uploads.js";

const LATER = [0, 429, 502, 503, 504]; // the network, the server or the host may be back soon

/** The states are waiting, sending, paused, retrying, exists, failed, done and cancelled. It tells of `change`. */
export class Upload extends EventTarget {
  state = "waiting";
  offset = 0;
  error = "";
  replaces = false;
  speed = 0; // bytes in a second
  #id;
  #chunk = new ChunkSize();
  #stop = new AbortController();
  #wake = () => {};
  #isTried = false;

  /** `folder` and `name` are percent-encoded. */
  constructor(id, file, folder, name) {
    super();
    this.#id = id;
    Object.assign(this, { file, folder, name, number: newNumber() });
    const { number, offset } = earlier(this) ?? this;
    Object.assign(this, { number, offset });
    this.#isTried = offset > 0;
  }

  get runs() {
    return this.state === "sending" || this.state === "retrying";
  }

  get isOver() {
    return this.state === "done" || this.state === "cancelled";
  }

  /** Sends the rest of the file. Resolves when there is nothing to do any more, or a person must choose. */
  async run() {
    this.#become("sending");
    let attempts = 0;
    while (this.runs) {
      try {
        await this.#send();
        attempts = 0;
      } catch (error) {
        if (!this.runs) return; // a person has stopped it
        await this.#recover(error, attempts);
        attempts += 1;
      }
    }
  }

  pause() {
    this.#end("paused");
  }

  replace() {
    this.replaces = true;
    this.again();
  }

  /** Goes back to the queue. */
  again() {
    this.#become("waiting");
  }

  /** Tries at once, if it waits to try again. */
  hurry() {
    this.#wake();
  }

  /** Gives the chunk up that is on its way, and waits for the network. */
  interrupt() {
    if (this.state === "sending") this.#stop.abort(new ApiError(0, "This computer has no network."));
  }

  /** Ends the upload, and removes what the host has of it. */
  async cancel() {
    this.#end("cancelled");
    forget(this);
    if (this.#isTried) await removeUpload(this.#id, this).catch(() => {}); // the hidden file stays, and hurts nobody
  }

  async #send() {
    const chunk = this.file.slice(this.offset, this.offset + this.#chunk.bytes);
    const start = performance.now();
    this.#isTried = true;
    this.#stop = new AbortController();
    this.offset = await sendChunk(this.#id, this, this.offset, chunk, this.#stop.signal);
    if (!this.runs) return;
    const milliseconds = performance.now() - start;
    this.#chunk.took(chunk.size, milliseconds);
    this.speed = (1000 * chunk.size) / Math.max(1, milliseconds);
    if (this.offset < this.file.size) {
      remember(this);
      this.#become("sending");
    } else {
      forget(this);
      this.#become("done");
    }
  }

  async #recover(error, attempts) {
    this.#chunk.failed();
    const { code, size } = error.facts ?? {};
    if (code === "wrong_offset" && size < this.offset) this.offset = size;
    else if (code === "exists") this.#become("exists");
    else if (!(await isReadable(this.file))) this.#fail("The file on this computer has changed, or cannot be read any more. Choose it again.");
    else if (LATER.includes(error.status)) await this.#wait(error.message, attempts);
    else this.#fail(error.message);
  }

  async #wait(message, attempts) {
    this.error = message;
    this.#become("retrying");
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * pauseBefore(attempts));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    if (this.runs) this.#become("sending");
  }

  #fail(message) {
    this.error = message;
    this.#become("failed");
  }

  #end(state) {
    if (this.isOver) return;
    this.#become(state);
    this.#stop.abort();
    this.#wake();
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}

async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** Returns a number that nobody can guess: it is a part of a name on the host. */
function newNumber() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
