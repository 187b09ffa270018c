// Airflow 3.0 keeps the login in the browser's storage. A browser sends nothing of it along when a person opens the page,
// so this hands it over in a cookie: for the page's own path, and for a minute, so that it ends with the login.
// Where the page was refused, this asks once more, with the login. `data-login` is the address of Airflow's login.
"use strict";
(() => {
  const COOKIE = "spot_training_login";
  const AIRFLOWS = "_token";
  const SECONDS = 60;
  const path = new URL(".", location.href).pathname;
  const login = document.currentScript.dataset.login;

  // The login in Airflow's storage, unless its time is up.
  function stored() {
    try {
      const token = localStorage.getItem("token");
      const content = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
      return content.exp * 1000 > Date.now() ? token : "";
    } catch {
      return "";
    }
  }

  function cookie(name) {
    const found = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
    return found?.slice(name.length + 1) ?? "";
  }

  function hand(token) {
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `${COOKIE}=${token}; path=${path}; max-age=${token ? SECONDS : 0}; samesite=strict${secure}`;
  }

  // FAB's login knows a person by another cookie, and gives Airflow's to who asks for the login once more.
  async function askForCookie() {
    if (cookie(AIRFLOWS)) return;
    try {
      await fetch(login);
    } catch {
      return; // The login is somewhere else: the page has the link.
    }
    if (cookie(AIRFLOWS)) location.reload();
  }

  if (login) {
    const token = stored();
    const isNew = token && token !== cookie(COOKIE);
    hand(isNew ? token : "");
    // A browser that keeps no cookie would be refused for ever.
    if (isNew && cookie(COOKIE) === token) location.reload();
    else if (!token) askForCookie();
    return;
  }
  const keep = () => hand(stored());
  keep();
  setInterval(keep, SECONDS * 300);
  addEventListener("storage", keep);
  document.addEventListener("visibilitychange", keep);
})();
