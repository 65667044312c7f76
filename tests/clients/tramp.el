;; TRAMP: a file found, changed, saved and copied, a directory listed, processes and a shell, all in batch.
(require 'tramp)
(setq tramp-verbose 1
      tramp-use-ssh-controlmaster-options nil
      auth-sources nil
      make-backup-files nil
      create-lockfiles nil
      coding-system-for-write 'utf-8-unix
      tramp-persistency-file-name (expand-file-name "tramp" (getenv "DIR")))
(let* ((host (getenv "HOST"))
       (directory (getenv "DIR"))
       (remote (format "/ssh:%s:%s/" host directory))
       (default-directory remote))
  (with-temp-file (concat directory "/file") (insert "first line\n"))
  (with-current-buffer (find-file-noselect (concat remote "file"))
    (princ (buffer-string))
    (goto-char (point-max))
    (insert "second line\n")
    (save-buffer))
  (princ (with-temp-buffer (insert-file-contents (concat directory "/file")) (buffer-string)))
  (with-temp-file (concat directory "/big") (dotimes (number 100000) (insert (format "%d\n" number))))
  (copy-file (concat directory "/big") (concat remote "big-there"))
  (copy-file (concat remote "big-there") (concat directory "/big-back"))
  (princ (format "%s %s\n" (process-file "cmp" nil nil nil "big" "big-back") (process-file "sh" nil nil nil "-c" "exit 5")))
  (make-directory (concat remote "sub"))
  (rename-file (concat remote "big-there") (concat remote "sub/big"))
  (set-file-modes (concat remote "sub/big") #o640)
  (princ (format "%s %o %s\n" (directory-files (concat remote "sub")) (file-modes (concat remote "sub/big")) (file-exists-p (concat remote "nothing"))))
  (princ (shell-command-to-string "echo from the shell; pwd"))
  (let* ((output (generate-new-buffer "output"))
         (process (start-file-process "asynchronous" output "sh" "-c" "echo one; sleep 0.2; echo two; exit 4")))
    (set-process-sentinel process #'ignore)
    (while (process-live-p process) (accept-process-output process 0.1))
    (accept-process-output process 0.1)
    (princ (format "%s %s" (process-exit-status process) (with-current-buffer output (buffer-string)))))
  (delete-directory (concat remote "sub") t)
  (princ (format "\n%s\n" (file-exists-p (concat remote "sub")))))
