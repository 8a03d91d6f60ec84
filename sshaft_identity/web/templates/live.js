// Brings the news of a page at `base`. The page defines `seen`, the mark of what it shows, `isOver`, `show` and
// `showConnected`.
let sendsEvents = true;

async function poll() {
  let wait = 25;
  let hasFailed = false;
  for (;;) {
    try {
      const signal = AbortSignal.timeout?.(1000 * wait + 10000);
      const answer = await fetch(`${base}/state?wait=${wait}&${seen()}`, {cache: "no-store", signal});
      if (answer.status === 404) return show({state: "unknown"});
      if (answer.status === 429) {
        // Too many pages wait, so this page asks again and again.
        wait = 0;
      } else if (!answer.ok) {
        throw new Error(answer.statusText);
      } else {
        const news = await answer.json();
        show(news);
        if (isOver(news)) return;
        if (hasFailed && sendsEvents) return listen();
        if (hasFailed) wait = 25;
        hasFailed = false;
        if (wait) continue;
      }
    } catch {
      showConnected(false);
      hasFailed = true;
      // The first answer must come at once.
      wait = 0;
    }
    await new Promise((wake) => setTimeout(wake, 2000));
  }
}

function listen() {
  const events = new EventSource(`${base}/events`);
  // The first event comes at once. If a proxy holds it back or refuses event streams, the page polls instead.
  const silence = setTimeout(() => { sendsEvents = false; events.close(); poll(); }, 5000);
  let interruption;
  const heard = () => {
    clearTimeout(silence);
    clearTimeout(interruption);
    interruption = undefined;
  };
  events.onmessage = (event) => {
    heard();
    const news = JSON.parse(event.data);
    if (isOver(news)) events.close();
    show(news);
  };
  events.addEventListener("unavailable", () => {
    heard();
    showConnected(false);
  });
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) {
      heard();
      poll();
    } else {
      // The browser connects again by itself after two seconds. A proxy may have ended the stream.
      interruption ??= setTimeout(() => showConnected(false), 4000);
    }
  };
}
