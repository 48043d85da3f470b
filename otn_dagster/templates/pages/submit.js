// Sends a file in parts, and goes on where the last part ended.
const form = document.getElementById("drop"), input = document.getElementById("file");
const state = document.getElementById("state"), bar = document.getElementById("bar");

function keyOf(file) { return `upload ${file.name} ${file.size} ${file.lastModified}`; }

async function ask(path, options) {
  const answer = await fetch(path + (path.includes("?") ? "&" : "?") + "format=json", { credentials: "same-origin", ...options });
  const said = await answer.json();
  if (!answer.ok && answer.status !== 409) throw new Error(said.message || answer.statusText);
  return said;
}

async function begun(file) {
  const known = localStorage.getItem(keyOf(file));
  if (known) {
    try { return { token: known, ...(await ask(`/tracker/submit/${known}/offset`)), part: 8388608 }; } catch (error) { localStorage.removeItem(keyOf(file)); }
  }
  const made = await ask(`/tracker/submit/begin?name=${encodeURIComponent(file.name)}&size=${file.size}`, { method: "POST" });
  localStorage.setItem(keyOf(file), made.token);
  return made;
}

async function send(file) {
  bar.hidden = false;
  let { token, offset, part } = await begun(file);
  for (let tries = 0; offset < file.size;) {
    bar.value = offset / file.size;
    state.textContent = `${Math.round(100 * offset / file.size)} % of ${file.name}`;
    try {
      ({ offset } = await ask(`/tracker/submit/${token}/part?offset=${offset}`, { method: "PUT", body: file.slice(offset, offset + Math.min(part, 8388608)) }));
      tries = 0;
    } catch (error) {
      if (++tries > 5) throw error;
      await new Promise((wake) => setTimeout(wake, 1000 * tries));
      ({ offset } = await ask(`/tracker/submit/${token}/offset`));
    }
  }
  bar.value = 1;
  state.textContent = "looking at it…";
  localStorage.removeItem(keyOf(file));
  location.href = `/tracker/submit/${token}`;
}

function take(file) {
  if (file) send(file).catch((error) => { state.textContent = `It was not sent: ${error.message}. Choose the file again to go on.`; });
}

form.addEventListener("submit", (event) => { event.preventDefault(); take(input.files[0]); });
input.addEventListener("change", () => take(input.files[0]));
form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (event) => { event.preventDefault(); form.classList.remove("over"); take(event.dataTransfer.files[0]); });
