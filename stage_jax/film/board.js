"use strict";
// The page reads and prints without this; it adds the keys, the buttons and the mark in the film strip.
(() => {
  const shots = [...document.querySelectorAll("article.shot")];
  const links = [...document.querySelectorAll(".strip a")];
  const film = document.querySelector(".lead video");
  const tools = document.querySelector(".tools");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let current = -1;
  let heading = -1; // the shot that the page scrolls to, which stays the current one until it is there

  const mark = (index) => {
    if (index === current) return;
    shots[current]?.classList.remove("current");
    shots[current]?.querySelector("video")?.pause();
    links[current]?.removeAttribute("aria-current");
    current = index;
    shots[current]?.classList.add("current");
    links[current]?.setAttribute("aria-current", "true");
    const strip = links[current]?.parentElement;
    strip?.scrollTo({ left: links[current].offsetLeft - strip.offsetLeft - strip.clientWidth / 2 });
  };
  const go = (index) => {
    heading = Math.min(Math.max(index, 0), shots.length - 1);
    mark(heading);
    shots[heading].scrollIntoView({ behavior: still ? "auto" : "smooth" });
  };
  const toggle = (video) => {
    if (!video) return;
    if (video.paused) video.play();
    else video.pause();
  };
  const play = () => {
    if (current < 0) go(0);
    toggle(shots[current].querySelector("video"));
  };
  const playFilm = () => {
    film?.scrollIntoView({ block: "center" });
    toggle(film);
  };
  const theme = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  // A candidate stands in the shot's large frames from when it is clicked, or comes by C, until it is clicked again.
  const candidatesOf = (shot) => [...(shot?.querySelectorAll(".candidate") ?? [])];
  const own = new Map(); // what the large frames show else
  const look = (shot, candidate) => {
    candidatesOf(shot).forEach((each) => {
      each.classList.toggle("large", each === candidate);
      each.setAttribute("aria-pressed", each === candidate);
    });
    const small = candidate?.querySelectorAll("img");
    shot.querySelectorAll(".pair figure").forEach((figure, index) => {
      const [frame, caption] = [figure.querySelector("img"), figure.querySelector("figcaption")];
      if (!own.has(frame)) own.set(frame, { src: frame.src, alt: frame.alt, words: caption.textContent });
      const { src, alt, words } = own.get(frame);
      frame.src = small ? small[index].src : src;
      frame.alt = small ? small[index].alt : alt;
      caption.textContent = small ? `${words} of candidate ${candidate.querySelector("b").textContent}` : words;
    });
  };
  const toggleCandidate = (candidate) => {
    const shot = candidate.closest(".shot");
    mark(shots.indexOf(shot));
    look(shot, candidate.classList.contains("large") ? undefined : candidate);
  };
  const nextCandidate = () => {
    const all = candidatesOf(shots[current]);
    if (all.length) look(shots[current], all[all.findIndex((each) => each.classList.contains("large")) + 1]);
  };
  document.querySelectorAll(".candidate").forEach((candidate) => {
    Object.assign(candidate, { role: "button", tabIndex: 0, ariaPressed: "false", title: "Look at it in the large frames (C)" });
    candidate.addEventListener("click", () => { if (getSelection().isCollapsed) toggleCandidate(candidate); });
    candidate.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggleCandidate(candidate);
    });
  });
  const actions = {
    previous: () => go(current - 1), next: () => go(current + 1), play, film: playFilm, theme, print: () => window.print(),
    candidate: nextCandidate,
  };
  const keys = {
    ArrowLeft: "previous", k: "previous", ArrowRight: "next", j: "next", " ": "play", f: "film", d: "theme", c: "candidate",
  };

  tools.hidden = false;
  tools.addEventListener("click", (event) => actions[event.target.closest("button")?.value]?.());
  links.forEach((link, index) => link.addEventListener("click", (event) => { event.preventDefault(); go(index); }));
  document.addEventListener("keydown", (event) => {
    const within = event.target.closest("button, summary, a, video, [role=button]");
    const taken = within && (event.key === " " || within.matches("video"));  // keys that it takes itself
    if (taken || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  document.addEventListener("scroll", () => {
    if (heading >= 0) return;
    const line = innerHeight / 3;
    mark(shots.findLastIndex((shot) => shot.getBoundingClientRect().top < line));
  }, { passive: true });
  document.addEventListener("scrollend", () => { heading = -1; });
  ["wheel", "touchmove"].forEach((kind) => document.addEventListener(kind, () => { heading = -1; }, { passive: true }));
})();
