// Takes the code from behind the # of the mailed link, which no server is sent, and puts it into the form.
const code = decodeURIComponent(location.hash.slice(1));
if (code) {
  document.querySelector("[name=token]").value = code;
  history.replaceState(null, "", location.pathname);
  document.querySelector("[name=password]").focus();
}
